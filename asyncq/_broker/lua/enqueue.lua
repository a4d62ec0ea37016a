-- Stores new tasks of one queue: pending, scheduled or in a group. Each item answers for itself;
-- one that is refused leaves nothing behind and does not touch the others.
--
-- KEYS[1] pending  [2] scheduled  [3] groups  [4] due
-- ARGV[1] prefix of task keys  [2] prefix of group keys  [3] channel for `due`  [4] clock skew, ms
--   [5] how many arguments each task has: 2 if all have nothing but
--     id, message
--   else 7, with
--     token      '' for an id made by asyncq, which is ours wherever it is found; for a caller's
--                id, what tells a call that is sent again from a conflict
--     wait       '' now, '+<ms>' from now, '@<ms>' Unix time
--     group      '' none
--     lock key   '' not unique
--     lock time  seconds; a waiting task holds it for its waiting time on top
-- Returns for each task 1, stored and pending, or { code, text, due ms }:
--     1 stored (text: the state), 0 id taken, -1 lock taken, -2 refused by Redis (text: why)
--@include clock
--@include attempt
--@include put_due
--@include enqueue_task
--@include enqueue_plain
local q = {
  pending = KEYS[1], scheduled = KEYS[2], groups = KEYS[3], due = KEYS[4],
  tasks = ARGV[1], group_prefix = ARGV[2], channel = ARGV[3],
}
local now_us = clock_us(ARGV[4])
if ARGV[5] == '2' then return enqueue_plain(q, now_us, 6) end
local answers = {}
for i = 6, #ARGV, 7 do
  local ok, answer = attempt(enqueue_task, q, now_us, unpack(ARGV, i, i + 6))
  answers[#answers + 1] = ok and answer or { -2, answer, '0' }
end
return answers
