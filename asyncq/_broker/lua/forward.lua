-- Moves tasks of one queue whose time has come from scheduled and retry to pending, or to their
-- group. Tasks with an entry in `due` move to the millisecond, the others by their score. Ids
-- without a message are dropped. A key of a wrong type stops only what needs it.
--
-- One server leads: it sleeps exactly until the next time, the others look now and then.
--
-- KEYS[1] scheduled  [2] retry  [3] pending  [4] groups  [5] due  [6] forwarder  [7] parked
-- ARGV[1] prefix of task keys  [2] prefix of group keys  [3] clock skew, ms  [4] at most so many
--     [5] server id  [6] how long it leads, ms
-- Returns { moved, leads 0 or 1, ms until the next time or -1 }; the error of a key of a wrong type,
--     when all else is done
--@include clock
local now_us = clock_us(ARGV[3])
local now_ms, now_s = math.floor(now_us / 1000), math.floor(now_us / 1000000)
local limit = tonumber(ARGV[4])
local moved, failed = 0, nil

-- What a command answers; nothing if its key is of a wrong type.
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  failed = reply.err
  return {}
end

local function join(group, id)
  if type(redis.pcall('ZADD', ARGV[2] .. group, whole(now_s), id)) ~= 'number' then return false end
  if type(redis.pcall('SADD', KEYS[4], group)) == 'number' then return true end
  redis.call('ZREM', ARGV[2] .. group, id)
  return false
end

local function move(zset, id)
  local key = ARGV[1] .. id
  local task = redis.pcall('HMGET', key, 'msg', 'group', 'asyncq_group')
  if task.err then
    try('HSET', KEYS[7], id, task.err)
  elseif not task[1] then
    redis.call('DEL', key)
  else
    local group = task[2] or ''
    if group == '' then group = task[3] or '' end
    -- Where the group's key is something else, the task runs alone: it must not stop the queue.
    if group ~= '' and join(group, id) then
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

local due = try('ZRANGEBYSCORE', KEYS[5], '-inf', whole(now_ms), 'WITHSCORES', 'LIMIT', 0, limit)
for i = 1, #due, 2 do
  local id, second = due[i], math.ceil(due[i + 1] / 1000)
  for n = 1, 2 do
    -- An entry that does not agree with the score is left over from an earlier wait.
    local score = try('ZSCORE', KEYS[n], id)
    if type(score) == 'string' and tonumber(score) == second then move(KEYS[n], id) end
  end
  redis.call('ZREM', KEYS[5], id)
end
for n = 1, 2 do
  if moved < limit then
    local ids = try('ZRANGEBYSCORE', KEYS[n], '-inf', whole(now_s), 'LIMIT', 0, limit - moved)
    for _, id in ipairs(ids) do
      move(KEYS[n], id)
      try('ZREM', KEYS[5], id)
    end
  end
end

local leads = 1
if not redis.call('SET', KEYS[6], ARGV[5], 'NX', 'PX', ARGV[6]) then
  if try('GET', KEYS[6]) == ARGV[5] then
    redis.call('PEXPIRE', KEYS[6], ARGV[6])
  else
    leads = 0
  end
end

local next_ms = -1
for _, first in ipairs({ { KEYS[5], 1 }, { KEYS[1], 1000 }, { KEYS[2], 1000 } }) do
  local entry = try('ZRANGE', first[1], 0, 0, 'WITHSCORES')
  if entry[2] then
    local ms = math.max(0, entry[2] * first[2] - now_ms)
    if next_ms < 0 or ms < next_ms then next_ms = ms end
  end
end
if failed then return redis.error_reply(failed) end
return { moved, leads, math.ceil(next_ms) }
