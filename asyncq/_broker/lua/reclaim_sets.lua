-- Puts the tasks of aggregation sets whose deadline has passed back into their groups.
--
-- KEYS[1] aggregation_sets  [2] groups
-- ARGV[1] prefix of group keys  [2] clock skew, ms  [3] at most so many sets
-- Returns how many sets were reclaimed; the error of the last set that could not be, if any.
--@include clock
--@include attempt
local function reclaim(set)
  -- A set is named after its group and an id; group names may hold colons, ids do not.
  local group_key = string.match(set, '^(.*):[^:]*$') or ''
  if string.sub(group_key, 1, #ARGV[1]) == ARGV[1] then
    while true do
      local found = redis.call('ZRANGE', set, 0, 999, 'WITHSCORES')
      if #found == 0 then break end
      local members = {}
      for i = 1, #found, 2 do
        members[i] = found[i + 1]
        members[i + 1] = found[i]
      end
      redis.call('ZADD', group_key, unpack(members))
      redis.call('SADD', KEYS[2], string.sub(group_key, #ARGV[1] + 1))
      redis.call('ZREMRANGEBYRANK', set, 0, 999)
    end
  end
  redis.call('ZREM', KEYS[1], set)
end

local now_s = whole(math.floor(clock_us(ARGV[2]) / 1000000))
local sets = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_s, 'LIMIT', 0, ARGV[3])
local failed
for _, set in ipairs(sets) do
  local ok, why = attempt(reclaim, set)
  if not ok then failed = why end
end
return failed and redis.error_reply(failed) or #sets
