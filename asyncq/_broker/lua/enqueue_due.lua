-- Enqueues the task of a scheduler's entry for one due time, unless that was done already: by
-- another scheduler, or by this very attempt, whose answer was lost. Due times only go forward.
--
-- KEYS[1] pending  [2] scheduled  [3] groups  [4] due  [5] cron
-- ARGV[1] prefix of task keys  [2] prefix of group keys  [3] channel for `due`  [4] clock skew, ms
--   [5] due time, Unix ms  [6] token of this attempt  [7] how late it may be, ms; '' however late
--   [8] how long to remember it, ms  [9] the entry's spec  [10] to [16] the task, as for enqueue
-- Returns { verdict, now ms, last due ms, code, text, due ms of the task }; verdicts:
--     enqueued  or refused for a reason of its own: code, text and due ms as of enqueue. With
--               code -2, Redis would not take it, the due time is still open; else it is done.
--     taken     this due time, or a later one, is done
--     early     it is still in the future
--     late      it is past by more than it may be; still open
--@include clock
--@include attempt
--@include put_due
--@include enqueue_task
local q = {
  pending = KEYS[1], scheduled = KEYS[2], groups = KEYS[3], due = KEYS[4],
  tasks = ARGV[1], group_prefix = ARGV[2], channel = ARGV[3],
}
local cron, due_ms, token, limit_ms = KEYS[5], tonumber(ARGV[5]), ARGV[6], ARGV[7]
local now_us = clock_us(ARGV[4])
local now_ms = math.floor(now_us / 1000)
local last = redis.call('HMGET', cron, 'due', 'token', 'code', 'text', 'at')

local function answer(verdict, last_ms, code, text, at)
  return { verdict, whole(now_ms), last_ms or '0', tonumber(code or 0), text or '', at or '0' }
end

if last[1] and due_ms <= tonumber(last[1]) then
  if last[2] ~= token then return answer('taken', last[1]) end
  return answer('enqueued', last[1], last[3], last[4], last[5])
end
if due_ms > now_ms then return answer('early', last[1]) end
if limit_ms ~= '' and now_ms - due_ms > tonumber(limit_ms) then return answer('late', last[1]) end

local ok, result = attempt(enqueue_task, q, now_us, unpack(ARGV, 10, 16))
if not ok then return answer('enqueued', last[1], -2, result) end
redis.call('HSET', cron, 'due', ARGV[5], 'token', token, 'spec', ARGV[9],
  'code', result[1], 'text', result[2], 'at', result[3])
redis.call('PEXPIRE', cron, ARGV[8])
return answer('enqueued', ARGV[5], result[1], result[2], result[3])
