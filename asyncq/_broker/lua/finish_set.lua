-- Ends an aggregation in one step: enqueues the task made of it, frees the parts' locks, deletes
-- the parts and the set. Nothing happens if the set was reclaimed meanwhile, or if the new task
-- is refused. Parts named as unreadable go to the archive in place of being deleted; while it does
-- not take them, they are reclaimed.
--
-- KEYS[1] set  [2] aggregation_sets  [3] archived  [4] to [7] as KEYS[1] to [4] of enqueue
-- ARGV[1] to [11] as for one task of enqueue  [12] why parts were unreadable; then their ids
-- Returns { code, text, due ms } as enqueue does; code -3: the set is gone.
--@include clock
--@include attempt
--@include put_due
--@include enqueue_task
--@include unlock
--@include end_set
if not redis.call('ZSCORE', KEYS[2], KEYS[1]) then return { -3, '', '0' } end
local q = {
  pending = KEYS[4], scheduled = KEYS[5], groups = KEYS[6], due = KEYS[7],
  tasks = ARGV[1], group_prefix = ARGV[2], channel = ARGV[3],
}
local now_us = clock_us(ARGV[4])
local ok, answer = attempt(enqueue_task, q, now_us, unpack(ARGV, 5, 11))
if not ok then return { -2, answer, '0' } end
if answer[1] < 1 then return answer end

local unreadable = {}
for i = 13, #ARGV do unreadable[ARGV[i]] = true end
local now_s = whole(math.floor(now_us / 1000000))
-- What was made of the set stands, whatever cannot be archived.
end_set(KEYS[1], KEYS[2], KEYS[3], q.tasks, now_s, ARGV[12], unreadable)
return answer
