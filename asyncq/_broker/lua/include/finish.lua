-- The ways out of `active` of a task that is kept, for settle and recover, which differ in how they
-- make sure that the task is theirs to move. Each adds the task to where it goes before it leaves
-- `active`: when Redis refuses the one, the other is not done.
-- KEYS[1] active  [2] lease  [3] pending  [4] retry  [5] archived  [6] completed  [7] due
--     [8] processed today  [9] failed today  [10] processed  [11] failed
local processed, failed = 0, 0

local function leave_active(key, id)
  redis.call('HDEL', key, 'asyncq_claim')
  -- The oldest stand on the right, and the oldest finish first.
  redis.call('LREM', KEYS[1], -1, id)
  redis.call('ZREM', KEYS[2], id)
end

local finish = {}

function finish.complete(task, now_ms)
  redis.call('ZADD', KEYS[6], whole(math.floor(now_ms / 1000) + task.ms / 1000), task.id)
  redis.call('HSET', task.key, 'msg', task.msg, 'state', 'completed')
  if task.result ~= '' then redis.call('HSET', task.key, 'result', task.result) end
  leave_active(task.key, task.id)
  unlock(task.lock, task.id)
  tell(task)
  processed = processed + 1
end

local function count_failure(task)
  if task.failure == '1' then
    processed = processed + 1
    failed = failed + 1
  end
end

function finish.retry(task, now_ms, channel)
  put_due(KEYS[4], KEYS[7], channel, task.id, now_ms + task.ms, now_ms)
  redis.call('HSET', task.key, 'msg', task.msg, 'state', 'retry')
  leave_active(task.key, task.id)
  count_failure(task)
end

function finish.archive(task, now_ms)
  redis.call('ZADD', KEYS[5], whole(math.floor(now_ms / 1000)), task.id)
  redis.call('HSET', task.key, 'msg', task.msg, 'state', 'archived')
  leave_active(task.key, task.id)
  tell(task)
  processed = processed + 1
  failed = failed + 1
end

local function to_head(task, now_ms, ...)
  redis.call('RPUSH', KEYS[3], task.id)
  redis.call('HSET', task.key, 'state', 'pending', 'pending_since', whole(now_ms) .. '000000', ...)
  leave_active(task.key, task.id)
end

function finish.requeue(task, now_ms)
  to_head(task, now_ms)
end

function finish.restart(task, now_ms)
  to_head(task, now_ms, 'msg', task.msg)
  count_failure(task)
end

-- An undecodable message cannot be rewritten: it is set aside as it is, with the reason.
function finish.park(task, now_ms)
  redis.call('ZADD', KEYS[5], whole(math.floor(now_ms / 1000)), task.id)
  redis.call('HSET', task.key, 'state', 'archived', 'asyncq_parked', task.msg)
  leave_active(task.key, task.id)
end

local function count(now_ms)
  count_day(KEYS[8], processed, math.floor(now_ms / 1000))
  count_day(KEYS[9], failed, math.floor(now_ms / 1000))
  count_totals(KEYS[10], KEYS[11], processed, failed)
end
