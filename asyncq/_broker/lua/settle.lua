-- Writes the ends of attempts of one queue. An item acts only while its task is active under the
-- item's claim; each answers for itself. Counters come last.
--
-- KEYS    as in include/finish.lua
-- ARGV[1] prefix of task keys  [2] channel for `due`  [3] clock skew, ms
--   then 8 for each task:
--     kind       done, complete, retry, archive, requeue or park
--     id, claim
--     message    rewritten; for park the reason; for done and requeue ''
--     ms         retry: from now until it is due; complete: how long it is kept
--     failure    '1' if a retry counts as a failure
--     lock key   '' not unique; given up by done and complete
--     result     '' none; kept by complete
-- Returns for each task 1 written, 0 gone, or the text of an error; then '' or why the counters
-- could not be written.
--@include clock
--@include attempt
--@include put_due
--@include unlock
--@include count
--@include tell
--@include finish
local now_ms = math.floor(clock_us(ARGV[3]) / 1000)

local function settle(kind, id, claim, msg, ms, failure, lock, result)
  local key = ARGV[1] .. id
  local held = redis.call('HMGET', key, 'state', 'asyncq_claim', 'asyncq_waited')
  if held[1] ~= 'active' or held[2] ~= claim then return 0 end
  local task = {
    key = key, id = id, msg = msg, ms = tonumber(ms), failure = failure, lock = lock,
    result = result, waited = held[3],
  }
  finish[kind](task, now_ms, ARGV[2])
  return 1
end

local answers = {}
for i = 4, #ARGV, 8 do
  local _, answer = attempt(settle, unpack(ARGV, i, i + 7))
  answers[#answers + 1] = answer
end
local ok, why = attempt(count, now_ms)
answers[#answers + 1] = ok and '' or why
return answers
