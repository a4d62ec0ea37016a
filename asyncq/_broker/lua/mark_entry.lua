-- Tells the last due time of a scheduler's entry, and remembers it for longer. For an entry that
-- is new, nothing was due up to now: what all schedulers count from.
--
-- KEYS[1] cron
-- ARGV[1] clock skew, ms  [2] the entry's spec  [3] how long to remember it, ms
--   [4] 1 to count from now where what is known is from another spec
-- Returns { now ms, last due ms, 1 if a task was enqueued for it, the spec it is from }
--@include clock
-- More than a due time can be ahead of this clock, unless it was set back.
local AHEAD_MS = 60000
local now_ms = math.floor(clock_us(ARGV[1]) / 1000)
local last = redis.call('HMGET', KEYS[1], 'due', 'token', 'spec')
local other = ARGV[4] == '1' and last[3] ~= ARGV[2]
if not last[1] or other or tonumber(last[1]) > now_ms + AHEAD_MS then
  last = { whole(now_ms - now_ms % 1000), false, ARGV[2] }
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'due', last[1], 'spec', last[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { whole(now_ms), last[1], last[2] and 1 or 0, last[3] or '' }
