-- Deletes tasks that do not run, and gives up their uniqueness locks.
--
-- KEYS[1] pending  [2] groups  [3] where the ids were found
-- ARGV[1] prefix of the queue's keys  [2] not used  [3] only from this state, '' any
--     [4] rank in `pending` where the ids were seen  [5] how far from the ends of `pending` gaps
--     are closed, in place of being filled by the newest task
--   then ids
-- Returns { for each: 1 deleted, 0 no such task, -1 active, -3 not where its state says it is, or in
--     another one, -4 pending, but not near that rank },
--     { ids that filled gaps, each with its stay }
--@include window
--@include stay
--@include take_out
--@include tell
--@include unlock
local answers = {}
look_around(tonumber(ARGV[4]), ARGV, 6)
for i = 6, #ARGV do
  local task, code = movable(ARGV[1], ARGV[i], ARGV[3])
  if task then
    -- The other way round than when a task is moved: wherever an id without a task stands, it is
    -- dropped; a task that stands nowhere would stay for ever.
    redis.call('DEL', task.key)
    unlock(task.lock, task.id)
    take_out(task)
    tell(task)
  end
  answers[#answers + 1] = code
end
return { answers, close_gaps(ARGV[1] .. 't:', tonumber(ARGV[5])) }
