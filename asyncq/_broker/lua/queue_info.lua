-- Counts of one queue.
--
-- KEYS[1] pending  [2] active  [3] scheduled  [4] retry  [5] archived  [6] completed
--     [7] processed today  [8] failed today  [9] processed  [10] failed  [11] paused  [12] groups
-- ARGV[1] prefix of task keys  [2] prefix of group keys  [3] most groups to count tasks of
-- Returns { the six sizes, the four counters, paused 0 or 1, pending_since of the next task in
--     Unix ns or '0', number of groups, number of tasks in them or -1 for too many groups }
local info = {}
for n = 1, 2 do info[n] = redis.call('LLEN', KEYS[n]) end
for n = 3, 6 do info[n] = redis.call('ZCARD', KEYS[n]) end
for n = 7, 10 do info[n] = redis.call('GET', KEYS[n]) or '0' end
info[11] = redis.call('EXISTS', KEYS[11])
local head = redis.call('LINDEX', KEYS[1], -1)
local since = head and redis.pcall('HGET', ARGV[1] .. head, 'pending_since')
info[12] = type(since) == 'string' and since or '0'
info[13] = redis.call('SCARD', KEYS[12])
info[14] = -1
if info[13] <= tonumber(ARGV[3]) then
  info[14] = 0
  for _, group in ipairs(redis.call('SMEMBERS', KEYS[12])) do
    info[14] = info[14] + redis.call('ZCARD', ARGV[2] .. group)
  end
end
return info
