-- One task, wherever it is.
--
-- KEYS[1] task  [2] lease
-- ARGV[1] id  [2] prefix of the queue's keys  [3] clock skew, ms
-- Returns { state, as include/entry.lua }; nothing if there is none; an error if its key is no hash.
--@include clock
--@include entry
local state = redis.call('HGET', KEYS[1], 'state')
if not state and redis.call('HEXISTS', KEYS[1], 'msg') == 0 then return false end
local score = false
if state == 'scheduled' or state == 'retry' then
  score = redis.call('ZSCORE', ARGV[2] .. state, ARGV[1])
end
local now_s = clock_us(ARGV[3]) / 1000000
local found = entry(ARGV[2] .. 't:', KEYS[2], now_s, ARGV[1], score)
return found and { state or '', found } or false
