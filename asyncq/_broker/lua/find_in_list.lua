-- Where tasks stand in a part of a list, counted from its right end.
--
-- KEYS[1] list
-- ARGV[1] prefix of task keys  [2] rank of the first to look at  [3] how many to look at
--   then ids, each followed by its stay, or '*' for any
-- Returns the largest rank of one of them that is still there, or -1; length of the list.
--@include stay
local stays = {}
for n = 4, #ARGV, 2 do stays[ARGV[n]] = ARGV[n + 1] end
local length = redis.call('LLEN', KEYS[1])
local found = redis.call('LRANGE', KEYS[1], -ARGV[2] - ARGV[3], -ARGV[2] - 1)
for i, id in ipairs(found) do
  local wanted = stays[id]
  if wanted and (wanted == '*' or stay(ARGV[1] .. id) == wanted) then
    return { ARGV[2] + #found - i, length }
  end
end
return { -1, length }
