-- Moves tasks of one queue whose time has come from scheduled and retry to pending, or to their
-- group. Tasks with an entry in `due` move to the millisecond, the others by their score. Ids
-- without a message are dropped.
--
-- One server leads: it sleeps exactly until the next time, the others look now and then.
--
-- KEYS[1] scheduled  [2] retry  [3] pending  [4] groups  [5] due  [6] forwarder  [7] parked
-- ARGV[1] prefix of task keys  [2] prefix of group keys  [3] clock skew, ms  [4] at most so many
--     [5] server id  [6] how long it leads, ms
-- Returns { moved, leads 0 or 1, ms until the next time or -1 }
--@include clock
local now_us = clock_us(ARGV[3])
local now_ms, now_s = math.floor(now_us / 1000), math.floor(now_us / 1000000)
local limit = tonumber(ARGV[4])
local moved = 0

local function move(zset, id)
  local key = ARGV[1] .. id
  local task = redis.pcall('HMGET', key, 'msg', 'group', 'asyncq_group')
  if task.err then
    redis.call('HSET', KEYS[7], id, task.err)
  elseif not task[1] then
    redis.call('DEL', key)
  else
    local group = task[2] or ''
    if group == '' then group = task[3] or '' end
    -- Where the group's key is something else, the task runs alone: it must not stop the queue.
    if group ~= '' and type(redis.pcall('ZADD', ARGV[2] .. group, whole(now_s), id)) == 'number' then
      redis.call('SADD', KEYS[4], group)
      redis.call('HSET', key, 'state', 'aggregating', 'group', group)
      redis.call('HDEL', key, 'asyncq_group')
    else
      redis.call('LPUSH', KEYS[3], id)
      redis.call('HSET', key, 'state', 'pending', 'pending_since', whole(now_us) .. '000')
    end
  end
  redis.call('ZREM', zset, id)
  moved = moved + 1
end

local due = redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', whole(now_ms), 'WITHSCORES', 'LIMIT', 0, limit)
for i = 1, #due, 2 do
  local id, second = due[i], math.ceil(due[i + 1] / 1000)
  for n = 1, 2 do
    -- An entry that does not agree with the score is left over from an earlier wait.
    if tonumber(redis.call('ZSCORE', KEYS[n], id) or '-1') == second then move(KEYS[n], id) end
  end
  redis.call('ZREM', KEYS[5], id)
end
for n = 1, 2 do
  if moved < limit then
    local ids = redis.call('ZRANGEBYSCORE', KEYS[n], '-inf', whole(now_s), 'LIMIT', 0, limit - moved)
    for _, id in ipairs(ids) do
      move(KEYS[n], id)
      redis.call('ZREM', KEYS[5], id)
    end
  end
end

local leads = 1
if not redis.call('SET', KEYS[6], ARGV[5], 'NX', 'PX', ARGV[6]) then
  if redis.call('GET', KEYS[6]) == ARGV[5] then
    redis.call('PEXPIRE', KEYS[6], ARGV[6])
  else
    leads = 0
  end
end

local next_ms = -1
for _, first in ipairs({ { KEYS[5], 1 }, { KEYS[1], 1000 }, { KEYS[2], 1000 } }) do
  local entry = redis.call('ZRANGE', first[1], 0, 0, 'WITHSCORES')
  if entry[2] then
    local ms = math.max(0, entry[2] * first[2] - now_ms)
    if next_ms < 0 or ms < next_ms then next_ms = ms end
  end
end
return { moved, leads, math.ceil(next_ms) }
