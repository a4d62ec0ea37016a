-- Lists ids in `active` that have no lease: nobody would ever recover them. Those that the
-- caller has seen before, long enough ago, get a lease that is over, so that recovery sees them.
--
-- KEYS[1] active  [2] lease
-- ARGV    ids to give a lease
-- Returns the other ids without a lease.
local ripe = {}
for _, id in ipairs(ARGV) do ripe[id] = true end
local found = {}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  if not redis.call('ZSCORE', KEYS[2], id) then
    if ripe[id] then
      redis.call('ZADD', KEYS[2], 0, id)
    else
      found[#found + 1] = id
    end
  end
end
return found
