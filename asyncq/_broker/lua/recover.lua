-- Moves tasks of one queue whose lease ran out. An item acts only if the task is still active
-- under the claim that `list_expired` saw and its lease is still over: of several servers that
-- recover the same task one succeeds, and a worker that renewed in between keeps it.
--
-- KEYS    as in include/finish.lua
-- ARGV[1] prefix of task keys  [2] channel for `due`  [3] clock skew, ms
--     [4] seconds a lease with a claim must be over  [5] the same without (asynq's own)
--   then 6 for each task:
--     kind       restart (at the head of pending), retry, archive or park
--     id, claim ('' none), message (rewritten; for park the reason), ms until a retry is due,
--     failure    '1' if it counts as a failure
-- Returns for each task 1 moved, 0 gone, or the text of an error; then '' or why the counters
-- could not be written.
--@include clock
--@include attempt
--@include put_due
--@include unlock
--@include count
--@include tell
--@include finish
local now_ms = math.floor(clock_us(ARGV[3]) / 1000)

local function recover(kind, id, claim, msg, ms, failure)
  local key = ARGV[1] .. id
  local held = redis.call('HMGET', key, 'state', 'asyncq_claim', 'asyncq_waited')
  if held[1] ~= 'active' or (held[2] or '') ~= claim then return 0 end
  local lease_end = redis.call('ZSCORE', KEYS[2], id)
  local grace = claim == '' and ARGV[5] or ARGV[4]
  if not lease_end or lease_end + grace > now_ms / 1000 then return 0 end
  local task = {
    key = key, id = id, msg = msg, ms = tonumber(ms), failure = failure, waited = held[3],
  }
  finish[kind](task, now_ms, ARGV[2])
  redis.pcall('HINCRBY', key, 'asyncq_recovered', 1)
  return 1
end

local answers = {}
for i = 6, #ARGV, 6 do
  local _, answer = attempt(recover, unpack(ARGV, i, i + 5))
  answers[#answers + 1] = answer
end
local ok, why = attempt(count, now_ms)
answers[#answers + 1] = ok and '' or why
return answers
