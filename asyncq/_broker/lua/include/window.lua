-- The ids of a list around a rank, counted from its right end: rank of the first, ids.
-- Between two calls workers take tasks from there, and a few come back.
local function window(list, rank, count)
  local first = math.max(0, rank - 1000)
  local found = redis.call('LRANGE', list, -(rank + count + 200), -first - 1)
  local ids = {}
  for i = #found, 1, -1 do ids[#ids + 1] = found[i] end
  return first, ids
end
