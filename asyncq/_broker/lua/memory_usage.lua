-- About how much memory the tasks of one queue use, from samples, as asynq estimates it. What is of
-- a wrong type counts as empty.
--
-- KEYS[1] pending  [2] active  [3] scheduled  [4] retry  [5] archived  [6] completed  [7] groups
-- ARGV[1] prefix of task keys  [2] prefix of group keys
-- Returns { bytes of all but the tasks in groups, bytes of one task in a group }
local SAMPLE, GROUPS = 20, 5
local total = 0

local function average(ids)
  if #ids == 0 then return 0 end
  local bytes = 0
  for _, id in ipairs(ids) do
    bytes = bytes + (redis.call('MEMORY', 'USAGE', ARGV[1] .. id) or 0)
  end
  return bytes / #ids
end

for n = 1, 6 do
  local list = n < 3
  local size = redis.pcall(list and 'LLEN' or 'ZCARD', KEYS[n])
  if type(size) == 'number' and size > 0 then
    local ids = redis.call(list and 'LRANGE' or 'ZRANGE', KEYS[n], 0, SAMPLE - 1)
    total = total + average(ids) * size + redis.call('MEMORY', 'USAGE', KEYS[n])
  end
end

local grouped = {}
for _, group in ipairs(redis.pcall('SRANDMEMBER', KEYS[7], GROUPS)) do
  for _, id in ipairs(redis.pcall('ZRANGE', ARGV[2] .. group, 0, SAMPLE - 1)) do
    grouped[#grouped + 1] = id
  end
end
return { math.floor(total), math.ceil(average(grouped)) }
