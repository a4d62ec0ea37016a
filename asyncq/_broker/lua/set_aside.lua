-- Renames a key whose type is not what everybody expects there, so that it is in nobody's way and
-- a person can look at it.
--
-- KEYS[1] the key  [2] its new name
-- ARGV    the types that are right
-- Returns 1 renamed, 0 there is nothing wrong with it any more, -1 the new name is taken.
local found = redis.call('TYPE', KEYS[1]).ok
if found == 'none' then return 0 end
for _, right in ipairs(ARGV) do
  if found == right then return 0 end
end
return redis.call('RENAMENX', KEYS[1], KEYS[2]) == 1 and 1 or -1
