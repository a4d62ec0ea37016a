-- Counts of one queue. What is of a wrong type counts as empty: all else is shown.
--
-- KEYS[1] pending  [2] active  [3] scheduled  [4] retry  [5] archived  [6] completed
--     [7] processed today  [8] failed today  [9] processed  [10] failed  [11] paused  [12] groups
-- ARGV[1] prefix of task keys  [2] prefix of group keys  [3] most groups to count tasks of
-- Returns { the six sizes, the four counters, paused 0 or 1, pending_since of the next task in
--     Unix ns or '0', number of groups, number of tasks in them or -1 for too many groups }
local info = {}
local function count(command, key)
  local found = redis.pcall(command, key)
  return type(found) == 'number' and found or 0
end
-- A number that fits in 64 bits.
local function digits(text)
  return type(text) == 'string' and #text < 20 and string.match(text, '^%d+$') or '0'
end
for n = 1, 2 do info[n] = count('LLEN', KEYS[n]) end
for n = 3, 6 do info[n] = count('ZCARD', KEYS[n]) end
for n = 7, 10 do
  local total = redis.pcall('GET', KEYS[n])
  info[n] = digits(total)
end
info[11] = redis.call('EXISTS', KEYS[11])
local head = redis.pcall('LINDEX', KEYS[1], -1)
local since = type(head) == 'string' and redis.pcall('HGET', ARGV[1] .. head, 'pending_since')
info[12] = digits(since)
info[13] = count('SCARD', KEYS[12])
info[14] = -1
if info[13] <= tonumber(ARGV[3]) then
  info[14] = 0
  for _, group in ipairs(redis.pcall('SMEMBERS', KEYS[12])) do
    info[14] = info[14] + count('ZCARD', ARGV[2] .. group)
  end
end
return info
