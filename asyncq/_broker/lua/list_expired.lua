-- Lists tasks of one queue whose lease ran out, for `recover`, and clears what only looks like
-- one: ids without a message, and leases of tasks that stand elsewhere.
--
-- KEYS[1] lease  [2] active  [3] retry  [4] archived  [5] completed  [6] scheduled  [7] parked
-- ARGV[1] prefix of task keys  [2] clock skew, ms  [3] seconds a lease with a claim must be over
--     [4] the same without (asynq's own)  [5] at most so many
-- Returns { { id, message, claim or '', times recovered or '0', ... }, ms until the next lease is
--     over (with a claim) or -1 }
--@include clock
local now_ms = math.floor(clock_us(ARGV[2]) / 1000)
local zsets = { retry = KEYS[3], archived = KEYS[4], completed = KEYS[5], scheduled = KEYS[6] }
local found = {}

local function clear(id)
  redis.call('ZREM', KEYS[1], id)
  redis.call('LREM', KEYS[2], 0, id)
  return true
end

-- Whether the lease was cleared away.
local function look(id, lease_end)
  local key = ARGV[1] .. id
  local task = redis.pcall('HMGET', key, 'msg', 'asyncq_claim', 'asyncq_recovered', 'state')
  if task.err then
    redis.pcall('HSET', KEYS[7], id, task.err)
    return clear(id)
  elseif not task[1] then
    redis.call('DEL', key)
    return clear(id)
  elseif task[4] == 'active' then
    local grace = task[2] and ARGV[3] or ARGV[4]
    if (lease_end + grace) * 1000 <= now_ms then
      local times = string.match(task[3] or '0', '^%d%d?%d?$') or '1'
      for _, value in ipairs({ id, task[1], task[2] or '', times }) do
        found[#found + 1] = value
      end
    end
  elseif zsets[task[4]] and redis.call('ZSCORE', zsets[task[4]], id) then
    redis.call('HDEL', key, 'asyncq_claim')
    return clear(id)
  end
end

local cutoff = whole(math.floor(now_ms / 1000) - math.min(ARGV[3], ARGV[4]))
local most = 4 * ARGV[5]
local kept = 0
-- On past those that are kept: a hundred that nobody may recover yet must not hide the others.
repeat
  local expired =
    redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', cutoff, 'WITHSCORES', 'LIMIT', kept, ARGV[5])
  for i = 1, #expired, 2 do
    if #found < most and not look(expired[i], expired[i + 1]) then kept = kept + 1 end
  end
until #expired == 0 or #found == most

local after = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. cutoff, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local next_ms = -1
if after[2] then next_ms = math.max(0, (after[2] + ARGV[3]) * 1000 - now_ms) end
return { found, math.ceil(next_ms) }
