-- Stores a result while the task is active under the claim: a late write must not revive a
-- deleted task.
--
-- KEYS[1] task
-- ARGV[1] claim  [2] result
-- Returns 1 stored or 0 gone.
local held = redis.call('HMGET', KEYS[1], 'state', 'asyncq_claim')
if held[1] ~= 'active' or held[2] ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'result', ARGV[2])
return 1
