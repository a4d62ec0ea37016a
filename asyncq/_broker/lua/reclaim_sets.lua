-- Puts the tasks of aggregation sets whose deadline has passed back into their groups, some
-- thousands at a time: a set may have any number.
--
-- KEYS[1] aggregation_sets  [2] groups
-- ARGV[1] prefix of group keys  [2] clock skew, ms  [3] at most so many sets
--     [4] at most so many tasks
-- Returns { how many sets were reclaimed, 1 if one has tasks left, the error of the last set that
--     could not be, or '' }
--@include clock
--@include attempt
local UNDER_WAY = '-reclaimed'
local left, unfinished = tonumber(ARGV[4]), 0

local function move_some(set, group_key)
  local found = redis.call('ZRANGE', set, 0, math.min(left, 1000) - 1, 'WITHSCORES')
  local members = {}
  for i = 1, #found, 2 do
    members[i] = found[i + 1]
    members[i + 1] = found[i]
  end
  if #members == 0 then return 0 end
  redis.call('ZADD', group_key, unpack(members))
  redis.call('SADD', KEYS[2], string.sub(group_key, #ARGV[1] + 1))
  redis.call('ZREMRANGEBYRANK', set, 0, #found / 2 - 1)
  return #found / 2
end

-- Returns how many sets are done by it.
local function reclaim(set)
  -- A set is named after its group and an id; group names may hold colons, ids do not.
  local group_key = string.match(set, '^(.*):[^:]*$') or ''
  if string.sub(group_key, 1, #ARGV[1]) == ARGV[1] then
    if redis.call('ZCARD', set) > left and string.sub(set, -#UNDER_WAY) ~= UNDER_WAY then
      -- It takes several steps. Whoever still works on the set must find it gone at once: some of
      -- its tasks are the group's again.
      local name = set .. UNDER_WAY
      redis.call('ZADD', KEYS[1], 0, name)
      redis.call('RENAME', set, name)
      redis.call('ZREM', KEYS[1], set)
      set = name
    end
    while left > 0 do
      local moved = move_some(set, group_key)
      if moved == 0 then break end
      left = left - moved
    end
    if redis.call('EXISTS', set) == 1 then
      unfinished = 1
      return 0
    end
  end
  redis.call('ZREM', KEYS[1], set)
  return 1
end

local now_s = whole(math.floor(clock_us(ARGV[2]) / 1000000))
local sets = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_s, 'LIMIT', 0, ARGV[3])
local done, failed = 0, ''
for _, set in ipairs(sets) do
  if left == 0 then break end
  local ok, answer = attempt(reclaim, set)
  if ok then
    done = done + answer
  else
    failed = answer
  end
end
return { done, unfinished, failed }
