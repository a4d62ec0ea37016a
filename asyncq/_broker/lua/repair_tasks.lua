-- Puts tasks of one queue into exactly one place, with hash, lease and place in agreement. Each is
-- looked at again: what has come right meanwhile is left alone. Where it stands decides, as that
-- is what workers go by; what stands nowhere goes where its state says, a scheduled task, whose
-- time is lost, and one in no known state to the archive. Only what has no message is deleted.
--
-- KEYS and ARGV[1] to [2] as in include/standing.lua
-- ARGV[3] group or aggregation set where the ids were seen, or ''  [4] its group's name
--     [5] clock skew, ms  [6] seconds of a new lease
--   then 4 for each task:
--     id, group named by its message or '', when it expires if it is completed (Unix s),
--     why its message cannot be read and its SHA-1, as '<sha> <why>', or ''
-- Returns for each '' nothing to do, 'removed', 'parked', or the state that it is in now.
--@include clock
--@include attempt
--@include standing
local now_us = clock_us(ARGV[5])
local now_s = whole(math.floor(now_us / 1000000))

local function leave_zset(zset, group, id)
  redis.call('ZREM', zset, id)
  if redis.call('EXISTS', zset) == 0 then
    redis.pcall('SREM', KEYS[8], group)
    redis.pcall('ZREM', KEYS[9], zset)
  end
end

local function leave_others(task, target)
  if target ~= 'pending' and task.pending > 0 then
    redis.call('LREM', KEYS[1], 0, task.id)
  elseif task.pending > 1 then
    redis.call('LREM', KEYS[1], task.pending - 1, task.id)
  end
  if target ~= 'active' then
    if task.active > 0 then redis.call('LREM', KEYS[2], 0, task.id) end
    if task.lease then redis.call('ZREM', KEYS[3], task.id) end
  elseif task.active > 1 then
    redis.call('LREM', KEYS[2], task.active - 1, task.id)
  end
  for state, key in pairs(ZSETS) do
    if target ~= state and task.at[state] then redis.call('ZREM', key, task.id) end
  end
  for n, one in ipairs(task.zsets) do
    if target ~= 'aggregating' or n > 1 then leave_zset(one[1], one[2], task.id) end
  end
end

local function target_of(task, group)
  if task.at[task.state] then return task.state end
  if task.places[1] then return task.places[1] end
  if task.state == 'active' and task.lease and task.lease > tonumber(now_s) then return 'active' end
  if task.state == 'aggregating' and (task.group ~= '' or group ~= '') then return 'aggregating' end
  if task.state == 'completed' then return 'completed' end
  if task.state == 'pending' or task.state == 'active' or task.state == 'retry'
    or task.state == 'aggregating' then
    return 'pending'
  end
  return 'archived'
end

local function enter(task, target, group, expires_s)
  local fields = { 'state', target }
  if target == 'active' then
    if task.active == 0 then redis.call('LPUSH', KEYS[2], task.id) end
    if not task.lease then
      -- A worker that is alive renews it; else it is recovered when it is over.
      redis.call('ZADD', KEYS[3], whole(now_s + ARGV[6]), task.id)
    end
  elseif target == 'pending' then
    if task.pending == 0 then redis.call('LPUSH', KEYS[1], task.id) end
    fields[3], fields[4] = 'pending_since', whole(now_us) .. '000'
  elseif target == 'aggregating' then
    local name = task.zsets[1] and task.zsets[1][2] or task.group ~= '' and task.group or group
    if not task.zsets[1] then
      redis.call('ZADD', ARGV[2] .. name, now_s, task.id)
      redis.call('SADD', KEYS[8], name)
    end
    fields[3], fields[4] = 'group', name
  elseif not task.at[target] then
    redis.call('ZADD', ZSETS[target], target == 'completed' and expires_s or now_s, task.id)
  end
  redis.call('HSET', task.key, unpack(fields))
  if target ~= 'active' then redis.call('HDEL', task.key, 'asyncq_claim') end
end

local function repair(id, group, expires_s, unreadable)
  local task = stand(id, true, ARGV[3], ARGV[4])
  local what = trouble(task, true)
  if what == 'nohash' then
    redis.call('HSET', KEYS[10], id, task.err)
    leave_others(task, 'parked')
    return 'parked'
  elseif what == 'ghost' then
    redis.call('DEL', task.key)
    leave_others(task, 'removed')
    return 'removed'
  end
  local sha, why = string.match(unreadable, '^(%x+) (.*)$')
  if sha and not task.at.active and not task.parked and redis.sha1hex(task.msg) == sha then
    enter(task, 'archived', '', '0')
    leave_others(task, 'archived')
    redis.call('HSET', task.key, 'asyncq_parked', why)
    return 'parked'
  end
  if what == '' then return '' end
  local target = target_of(task, group)
  enter(task, target, group, expires_s)
  leave_others(task, target)
  return target
end

local answers = {}
for i = 7, #ARGV, 4 do
  local ok, answer = attempt(repair, ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
  answers[#answers + 1] = ok and answer or '!' .. answer
end
return answers
