-- Takes names of keys that do not exist off a list of them.
--
-- KEYS[1] groups (a set of names) or aggregation_sets (a zset of keys)
-- ARGV[1] what to put before a name to have its key  [2] '1' to take them off; then names
-- Returns the names whose key does not exist.
local gone = {}
local is_set = redis.call('TYPE', KEYS[1]).ok == 'set'
for i = 3, #ARGV do
  if redis.call('EXISTS', ARGV[1] .. ARGV[i]) == 0 then
    gone[#gone + 1] = ARGV[i]
    if ARGV[2] == '1' then redis.call(is_set and 'SREM' or 'ZREM', KEYS[1], ARGV[i]) end
  end
end
return gone
