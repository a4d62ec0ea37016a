-- Whether a zset under the prefix of groups is a group that is listed, an aggregation set, or
-- neither, so that nobody looks at it. Changes nothing unless told to repair.
--
-- KEYS[1] the zset  [2] groups  [3] aggregation_sets
-- ARGV[1] what its key has after the prefix of groups  [2] prefix of task keys  [3] '1' to repair:
--     a group is listed, and a set is given a deadline that is over, so that it is reclaimed
-- Returns { 'group', 'set', 'hidden' (a group) or 'forgotten' (a set), its group's name,
--     how many tasks, the set's deadline or '' }
local deadline = redis.call('ZSCORE', KEYS[3], KEYS[1])
local name, size = ARGV[1], redis.call('ZCARD', KEYS[1])
local of_set = string.match(name, '^(.*):[^:]*$')
if deadline then return { 'set', of_set or name, size, deadline } end
if redis.call('SISMEMBER', KEYS[2], name) == 1 then return { 'group', name, size, '' } end
-- A group's name may look like that of a set: its tasks know.
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, 9)) do
  local group = redis.pcall('HGET', ARGV[2] .. id, 'group')
  if of_set and group == of_set then
    if ARGV[3] == '1' then redis.call('ZADD', KEYS[3], 0, KEYS[1]) end
    return { 'forgotten', of_set, size, '' }
  end
end
if ARGV[3] == '1' then redis.call('SADD', KEYS[2], name) end
return { 'hidden', name, size, '' }
