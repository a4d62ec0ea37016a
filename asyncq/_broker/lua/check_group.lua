-- Makes one aggregation set of a group's oldest tasks if the group is full, has waited long
-- enough, or has been quiet for the grace period.
--
-- KEYS[1] group  [2] the new set  [3] aggregation_sets  [4] groups
-- ARGV[1] largest size, 0 none  [2] longest wait, s, 0 none  [3] grace period, s
--     [4] seconds until the set is reclaimed  [5] the group's name  [6] clock skew, ms
--     [7] how many tasks a set has at most where no largest size is given
-- Returns 1 if a set was made, else 0.
--@include clock
local now_s = math.floor(clock_us(ARGV[6]) / 1000000)
local most, longest = tonumber(ARGV[1]), tonumber(ARGV[2])
local size = redis.call('ZCARD', KEYS[1])
if size == 0 then
  redis.call('SREM', KEYS[4], ARGV[5])
  return 0
end

local full = most > 0 and size >= most
local waited = longest > 0 and tonumber(redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]) <= now_s - longest
local quiet = tonumber(redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]) <= now_s - ARGV[3]
if not (full or waited or quiet) then return 0 end

if most == 0 then most = tonumber(ARGV[7]) end
-- First of all: whatever goes wrong below, the set is reclaimed.
redis.call('ZADD', KEYS[3], whole(now_s + ARGV[4]), KEYS[2])
if size <= most then
  redis.call('RENAME', KEYS[1], KEYS[2])
  redis.call('SREM', KEYS[4], ARGV[5])
else
  local left = most
  while left > 0 do
    local found = redis.call('ZRANGE', KEYS[1], 0, math.min(left, 1000) - 1, 'WITHSCORES')
    local members = {}
    for i = 1, #found, 2 do
      members[i] = found[i + 1]
      members[i + 1] = found[i]
    end
    -- Into the set before they leave the group: a task in neither would be lost.
    redis.call('ZADD', KEYS[2], unpack(members))
    redis.call('ZREMRANGEBYRANK', KEYS[1], 0, #found / 2 - 1)
    left = left - #found / 2
  end
end
return 1
