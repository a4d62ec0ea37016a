-- Takes tasks from where their state says they are. What is done with them is done before: when
-- Redis refuses that, they stay.
-- KEYS[1] pending  [2] groups  [3] where the ids were found, if from one state
--
-- In `pending` a task in the middle is the work of a walk along the list, so ids are only looked
-- for near the rank where they were seen, and leave together, in the end. Up to `near` from either
-- end the gap is closed. Further in that would hold up everybody: there the newest task moves into
-- the gap. Nobody waits longer for it.
local GAP = ''
local MOVABLE = {
  pending = true, scheduled = true, retry = true, archived = true, completed = true,
  aggregating = true,
}
local spots, leaving = nil, {}

local function look_around(rank, ids, from)
  local wanted = {}
  for n = from, #ids do wanted[ids[n]] = true end
  spots = {}
  local first, found = window(KEYS[1], rank, #ids)
  for n, id in ipairs(found) do
    if wanted[id] then
      spots[id] = spots[id] or {}
      table.insert(spots[id], first + n - 1)
    end
  end
end

local function leave_pending(id)
  for _, rank in ipairs(spots[id] or {}) do leaving[#leaving + 1] = rank end
  spots[id] = nil
end

-- Returns the ids that moved into gaps and stayed, each followed by its stay.
local function close_gaps(tasks, near)
  if #leaving == 0 then return {} end
  -- A write that is allowed when the memory is full, and with it all that follow.
  redis.call('PERSIST', KEYS[1])
  local length = redis.call('LLEN', KEYS[1])
  local right, left, moved = 0, 0, {}
  for _, rank in ipairs(leaving) do
    if rank < near then
      redis.call('LSET', KEYS[1], -rank - 1, GAP)
      right = right + 1
    elseif length - rank <= near then
      redis.call('LSET', KEYS[1], -rank - 1, GAP)
      left = left + 1
    else
      local newest = redis.call('LPOP', KEYS[1])
      redis.call('LSET', KEYS[1], -rank - 1, newest)
      length = length - 1
      moved[#moved + 1] = newest
      moved[#moved + 1] = stay(tasks .. newest)
    end
  end
  if right > 0 then redis.call('LREM', KEYS[1], -right, GAP) end
  if left > 0 then redis.call('LREM', KEYS[1], left, GAP) end
  return moved
end

-- A task that may be moved, else a code. An id without a task is taken from where it was found.
local function movable(queue_prefix, id, expected)
  local key = queue_prefix .. 't:' .. id
  local found = redis.pcall('HMGET', key, 'state', 'group', 'unique_key', 'asyncq_waited')
  if found.err then return nil, 0 end
  local task =
    { id = id, key = key, state = found[1], group = found[2] or '', lock = found[3], waited = found[4] }
  if not task.state then
    if expected == 'pending' then
      leave_pending(id)
    elseif MOVABLE[expected] then
      redis.call('ZREM', KEYS[3], id)
      if expected == 'aggregating' and redis.call('EXISTS', KEYS[3]) == 0 then
        redis.call('SREM', KEYS[2], string.sub(KEYS[3], #queue_prefix + 3))  -- past 'g:'
      end
    end
    return nil, 0
  end
  if expected ~= '' and task.state ~= expected then return nil, -3 end
  if task.state == 'active' then return nil, -1 end
  if not MOVABLE[task.state] then return nil, -3 end
  if task.state == 'pending' then
    if not spots[id] then return nil, -4 end
  else
    task.zset = queue_prefix .. task.state
    if task.state == 'aggregating' then task.zset = queue_prefix .. 'g:' .. task.group end
    if not redis.call('ZSCORE', task.zset, id) then return nil, -3 end
  end
  return task, 1
end

local function take_out(task)
  if task.state == 'pending' then return leave_pending(task.id) end
  redis.call('ZREM', task.zset, task.id)
  if task.state == 'aggregating' and redis.call('EXISTS', task.zset) == 0 then
    redis.call('SREM', KEYS[2], task.group)
  end
end
