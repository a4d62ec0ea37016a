-- Ends an aggregation set of which nothing can be made. Parts named as unreadable go to the
-- archive, those that are gone are forgotten. If the set has any other part, it is left alone.
--
-- KEYS[1] set  [2] aggregation_sets  [3] archived
-- ARGV[1] prefix of task keys  [2] clock skew, ms  [3] why parts were unreadable; then their ids
-- Returns 1 if the set was ended, 0 if it was reclaimed meanwhile or is left alone.
--@include clock
--@include unlock
--@include end_set
if not redis.call('ZSCORE', KEYS[2], KEYS[1]) then return 0 end
local unreadable = {}
for i = 4, #ARGV do unreadable[ARGV[i]] = true end
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if not unreadable[id] then return 0 end
end
local now_s = whole(math.floor(clock_us(ARGV[2]) / 1000000))
local failed = end_set(KEYS[1], KEYS[2], KEYS[3], ARGV[1], now_s, ARGV[3], unreadable)
return failed and redis.error_reply(failed) or 1
