-- Stores one task of queue `q` (its key names), now, later or in a group.
-- Returns { code, state, due ms }: code 1 stored (or found stored by this very call, when it is
-- sent again after a lost reply), 0 the id is taken, -1 the uniqueness lock is taken.
-- Raises when Redis refuses a write; then nothing of the task is left by this call. Its hash is
-- written last: what is found under an id that was sent again is sure to stand in its place, too,
-- even where Redis refused to undo something. An id without a hash is nobody's loss.
local function enqueue_task(q, now_us, id, msg, token, wait, group, lock, ttl)
  local key = q.tasks .. id
  local now_ms = math.floor(now_us / 1000)

  -- The id first: a lock must not be taken for a task that is then refused.
  if redis.call('EXISTS', key) == 1 then
    local held = redis.call('HMGET', key, 'state', 'asyncq_call')
    if token ~= '' and held[2] ~= token then return { 0, '', '0' } end
    if held[1] then
      -- Two writes that change nothing and need no memory: a caller who waits for replicas waits
      -- for the last write of his connection, and the one that stored the task was another's.
      local touched = redis.pcall('PEXPIRE', key, '1000000000000000')
      redis.pcall('PERSIST', key)
      -- No master any more: what it has is not what the new one has.
      if type(touched) == 'table' and string.find(touched.err, 'READONLY', 1, true) then
        error(touched.err, 0)
      end
    end
    local score = false
    if held[1] == 'scheduled' then score = redis.call('ZSCORE', q.scheduled, id) end
    return { 1, held[1] or '', score and whole(score * 1000) or '0' }
  end

  local due_ms = 0
  local sign = string.sub(wait, 1, 1)
  if sign == '+' then due_ms = now_ms + string.sub(wait, 2) end
  if sign == '@' then due_ms = tonumber(string.sub(wait, 2)) end
  local later = due_ms > now_ms

  if lock ~= '' then
    if later then ttl = ttl + math.ceil((due_ms - now_ms) / 1000) end
    if not redis.call('SET', lock, id, 'NX', 'EX', whole(ttl)) then return { -1, '', '0' } end
  end

  local state = later and 'scheduled' or group ~= '' and 'aggregating' or 'pending'
  local placed, listed = false, 0
  local stored, why = attempt(function()
    if later then
      -- First of all, though put_due does it again: the first write of a script is the one that a
      -- full memory refuses, if it takes any.
      redis.call('ZADD', q.scheduled, whole(math.ceil(due_ms / 1000)), id)
      placed = true
      put_due(q.scheduled, q.due, q.channel, id, due_ms, now_ms)
    elseif group ~= '' then
      listed = redis.call('SADD', q.groups, group)
      redis.call('ZADD', q.group_prefix .. group, whole(math.floor(now_ms / 1000)), id)
      placed = true
    else
      redis.call('LPUSH', q.pending, id)
      placed = true
    end
    local fields = { 'msg', msg, 'state', state }
    local function field(name, value)
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
    if state == 'pending' then field('pending_since', whole(now_us) .. '000') end
    if state == 'aggregating' then field('group', group) end
    -- asynq's forwarder would hide a task with `group` in a group that nobody looks at.
    if later and group ~= '' then field('asyncq_group', group) end
    if lock ~= '' then field('unique_key', lock) end
    if token ~= '' then field('asyncq_call', token) end
    redis.call('HSET', key, unpack(fields))
  end)
  if not stored then
    -- Undo only what was done: the first write of a script lets all later ones past a full memory.
    if placed and state == 'scheduled' then
      redis.pcall('ZREM', q.scheduled, id)
      redis.pcall('ZREM', q.due, id)
    elseif placed and state == 'aggregating' then
      redis.pcall('ZREM', q.group_prefix .. group, id)
    elseif placed then
      redis.pcall('LREM', q.pending, 1, id)
    end
    if listed == 1 then redis.pcall('SREM', q.groups, group) end
    if lock ~= '' then redis.pcall('DEL', lock) end
    error(why, 0)
  end
  return { 1, state, later and whole(due_ms) or '0' }
end
