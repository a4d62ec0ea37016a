-- Has a task's end published on `asyncq:done`, if it is not at its end already.
--
-- KEYS[1] task
-- Returns its state, or nothing if there is no such task.
local state = redis.call('HGET', KEYS[1], 'state')
if state and state ~= 'completed' and state ~= 'archived' then
  -- Where Redis refuses to write, whoever waits still looks now and then.
  redis.pcall('HSETNX', KEYS[1], 'asyncq_waited', '1')
end
return state
