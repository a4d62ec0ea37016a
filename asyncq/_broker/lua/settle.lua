-- Writes the ends of attempts of one queue. An item acts only while its task is active under the
-- item's claim; each answers for itself. Counters come last.
--
-- KEYS    as in include/finish.lua
-- ARGV[1] prefix of task keys  [2] channel for `due`  [3] clock skew, ms
--   then items, each led by its kind:
--     claim, <claim>        the claim of the items that follow
--     done, id, lock key    the task is deleted, and its uniqueness lock given up ('' not unique)
--     complete, retry, archive, requeue or park, with six more:
--       id
--       message    rewritten; for park the reason; for requeue ''
--       ms         retry: from now until it is due; complete: how long it is kept
--       failure    '1' if a retry counts as a failure
--       lock key   '' not unique; given up by complete
--       result     '' none; kept by complete
-- Returns for each task 1 written, 0 gone, or the text of an error; then '' or why the counters
-- could not be written, or the leases of what is done not be ended.
--@include clock
--@include attempt
--@include put_due
--@include unlock
--@include count
--@include tell
--@include finish
local ARGV, tasks, claim = ARGV, ARGV[1], ''
local now_ms = math.floor(clock_us(ARGV[3]) / 1000)
local ended = {}

-- The state and whether somebody waits for the end; nothing if the task is not under the claim.
local function held(key)
  local task = redis.call('HMGET', key, 'state', 'asyncq_claim', 'asyncq_waited')
  return task[1] == 'active' and task[2] == claim, task[3]
end

-- Most attempts end so: what can be done for all of them at once is left for later.
local function done(id, lock)
  local key = tasks .. id
  local ours, waited = held(key)
  if not ours then return 0 end
  redis.call('DEL', key)
  redis.call('LREM', KEYS[1], -1, id)
  unlock(lock, id)
  if waited then tell({ key = key, waited = waited }) end
  ended[#ended + 1] = id
  processed = processed + 1
  return 1
end

local function settle(kind, id, msg, ms, failure, lock, result)
  local key = tasks .. id
  local ours, waited = held(key)
  if not ours then return 0 end
  local task = {
    key = key, id = id, msg = msg, ms = tonumber(ms), failure = failure, lock = lock,
    result = result, waited = waited,
  }
  finish[kind](task, now_ms, ARGV[2])
  return 1
end

local answers = {}
local i, last = 4, #ARGV
while i <= last do
  local kind = ARGV[i]
  if kind == 'claim' then
    claim = ARGV[i + 1]
    i = i + 2
  elseif kind == 'done' then
    local _, answer = attempt(done, ARGV[i + 1], ARGV[i + 2])
    answers[#answers + 1] = answer
    i = i + 3
  else
    local _, answer = attempt(settle, unpack(ARGV, i, i + 6))
    answers[#answers + 1] = answer
    i = i + 7
  end
end
local ok, why = attempt(function()
  if #ended > 0 then redis.call('ZREM', KEYS[2], unpack(ended)) end
end)
local counted, why_not = attempt(count, now_ms)
if ok then ok, why = counted, why_not end
answers[#answers + 1] = ok and '' or why
return answers
