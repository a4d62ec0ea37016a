-- Reads a slice of an aggregation set, oldest first.
--
-- KEYS[1] set  [2] aggregation_sets
-- ARGV[1] prefix of task keys  [2] first rank  [3] last rank
-- Returns { deadline Unix s, or '' when the set is gone, { id, message or '', ... } }
local found = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[3])) do
  local msg = redis.pcall('HGET', ARGV[1] .. id, 'msg')
  found[#found + 1] = id
  found[#found + 1] = type(msg) == 'string' and msg or ''
end
return { redis.call('ZSCORE', KEYS[2], KEYS[1]) or '', found }
