-- Replaces the message of a task that waits, if nobody has changed it since it was read.
--
-- KEYS[1] task
-- ARGV[1] message as it was read  [2] new message  [3] id  [4] prefix of group keys
-- Returns 1 replaced, 0 no such task, -1 active or completed, -2 changed meanwhile, -3 in an
--     aggregation set: a worker has read it already
local task = redis.call('HMGET', KEYS[1], 'msg', 'state', 'group')
if not task[1] then return 0 end
if task[2] == 'active' or task[2] == 'completed' then return -1 end
if task[1] ~= ARGV[1] then return -2 end
if task[2] == 'aggregating' and not redis.call('ZSCORE', ARGV[4] .. (task[3] or ''), ARGV[3]) then
  return -3
end
redis.call('HSET', KEYS[1], 'msg', ARGV[2])
return 1
