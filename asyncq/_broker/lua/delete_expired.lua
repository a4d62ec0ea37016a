-- Deletes completed tasks whose retention has run out.
--
-- KEYS[1] completed
-- ARGV[1] prefix of task keys  [2] clock skew, ms  [3] at most so many
-- Returns how many were deleted.
--@include clock
--@include unlock
--@include bury
local now_s = whole(math.floor(clock_us(ARGV[2]) / 1000000))
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_s, 'LIMIT', 0, ARGV[3])
for _, id in ipairs(ids) do
  bury(KEYS[1], 'completed', ARGV[1] .. id, id)
end
return #ids
