-- Takes up to `limit` tasks of one queue: pending -> active, with a lease and the caller's claim;
-- fewer when their messages are large, but at least one.
-- Nothing is taken while the queue is paused. Entries of `pending` that cannot be run are
-- dropped: without a message, or a second entry of a running task. Where the task's key is no
-- hash, the id is set aside in `parked`.
--
-- KEYS[1] pending  [2] paused  [3] active  [4] lease  [5] parked  [6] fetch: this call's
-- ARGV[1] prefix of task keys  [2] limit, at most 1000  [3] claim  [4] how often the call was
--     sent before, its reply lost: then what `active` already holds under the claim comes first,
--     with its lease renewed  [5] lease time, s  [6] clock skew, ms  [7] of how many tasks at most
--     to tell how long they were pending
-- A sending that arrives after a later one was executed takes nothing: nobody waits for it.
-- Returns { paused 0 or 1, { id, message, ... }, { dropped id, why, ... }, pending left }, and if
--     asked for { place of a task among those taken, us that it was pending, ... }: spread evenly
--@include clock
local tasks, limit, claim, again = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local now_us = clock_us(ARGV[6])
local lease_end = whole(math.floor(now_us / 1000000) + ARGV[5])
local taken, dropped, leases = {}, {}, {}
local waits = ARGV[7] and {}
-- A reply must arrive within the caller's time-out, over a slow network too.
local MOST_BYTES, bytes = 2097152, 0

local function take(id, msg)
  taken[#taken + 1] = id
  taken[#taken + 1] = msg
  bytes = bytes + #msg
  leases[#leases + 1] = lease_end
  leases[#leases + 1] = id
end

local function waited(since)
  since = tonumber(since or nil)
  if not since then return end
  waits[#waits + 1] = #taken / 2
  waits[#waits + 1] = math.max(0, math.floor(now_us - since / 1000))
end

local function drop(id, why)
  dropped[#dropped + 1] = id
  dropped[#dropped + 1] = why
end

if again < tonumber(redis.call('GET', KEYS[6]) or '0') then
  return { 0, {}, {}, redis.call('LLEN', KEYS[1]), waits }
end
if again > 0 then
  redis.call('SET', KEYS[6], again, 'EX', 3600)
  local held = redis.call('LRANGE', KEYS[3], 0, -1)
  for i = #held, 1, -1 do  -- the oldest first, as they were given the first time
    local id = held[i]
    local task = redis.pcall('HMGET', tasks .. id, 'msg', 'state', 'asyncq_claim')
    if not task.err and task[1] and task[2] == 'active' and task[3] == claim then
      take(id, task[1])
    end
  end
end

local paused = redis.call('EXISTS', KEYS[2])
local wanted = limit - #taken / 2
if paused == 0 and wanted > 0 then
  local ids = redis.call('LRANGE', KEYS[1], -wanted, -1)
  local seen, active, looked = {}, {}, 0
  local step = waits and math.ceil(#ids / ARGV[7])
  for i = #ids, 1, -1 do
    local id = ids[i]
    local key = tasks .. id
    local timed = step and looked % step == 0
    local task = timed and redis.pcall('HMGET', key, 'msg', 'state', 'pending_since')
      or redis.pcall('HMGET', key, 'msg', 'state')
    if #taken > 0 and bytes + #(task[1] or '') > MOST_BYTES then break end
    looked = looked + 1
    if task.err then
      redis.pcall('HSET', KEYS[5], id, task.err)  -- that it is dropped is logged, too
      drop(id, task.err)
    elseif not task[1] then
      redis.call('DEL', key)
      drop(id, 'it has no message')
    elseif seen[id] or task[2] == 'active' and redis.call('ZSCORE', KEYS[4], id) then
      drop(id, 'it is running already')
    else
      seen[id] = true
      active[#active + 1] = id
      take(id, task[1])
      if timed then waited(task[3]) end
      redis.call('HSET', key, 'state', 'active', 'asyncq_claim', claim)
      redis.call('HDEL', key, 'pending_since', 'asyncq_group')
    end
  end
  if #active > 0 then redis.call('LPUSH', KEYS[3], unpack(active)) end
  if looked > 0 then redis.call('LTRIM', KEYS[1], 0, -looked - 1) end
end
if #leases > 0 then redis.call('ZADD', KEYS[4], unpack(leases)) end
return { paused, taken, dropped, redis.call('LLEN', KEYS[1]), waits }
