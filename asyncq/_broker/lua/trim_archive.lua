-- Deletes archived tasks that are too old or too many, the oldest first, in slices.
--
-- KEYS[1] archived
-- ARGV[1] prefix of task keys  [2] clock skew, ms  [3] largest age, s  [4] largest number
--     [5] at most so many
-- Returns { deleted for their age, deleted for their number }
--@include clock
--@include unlock
--@include bury
local function delete(ids)
  for _, id in ipairs(ids) do bury(KEYS[1], 'archived', ARGV[1] .. id, id) end
  return #ids
end

local cutoff = whole(math.floor(clock_us(ARGV[2]) / 1000000) - ARGV[3])
local old = delete(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', cutoff, 'LIMIT', 0, ARGV[5]))
local excess = math.min(redis.call('ZCARD', KEYS[1]) - ARGV[4], ARGV[5] - old)
local many = 0
if excess > 0 then many = delete(redis.call('ZRANGE', KEYS[1], 0, excess - 1)) end
return { old, many }
