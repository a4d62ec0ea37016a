-- Renews the leases of tasks of one queue that are active under the claims given.
--
-- KEYS[1] lease
-- ARGV[1] prefix of task keys  [2] lease time, s  [3] clock skew, ms
--   then 2 for each task: id, claim
-- Returns for each task 1 renewed or 0 gone.
--@include clock
local lease_end = whole(math.floor(clock_us(ARGV[3]) / 1000000) + ARGV[2])
local answers, leases = {}, {}
for i = 4, #ARGV, 2 do
  local held = redis.pcall('HMGET', ARGV[1] .. ARGV[i], 'state', 'asyncq_claim')
  local ours = not held.err and held[1] == 'active' and held[2] == ARGV[i + 1]
  answers[#answers + 1] = ours and 1 or 0
  if ours then
    leases[#leases + 1] = lease_end
    leases[#leases + 1] = ARGV[i]
  end
end
if #leases > 0 then
  -- To move a lease takes no memory, so a full Redis must not refuse it: it refuses a script's
  -- first write only. This one changes nothing.
  redis.call('PERSIST', KEYS[1])
  redis.call('ZADD', KEYS[1], unpack(leases))
end
return answers
