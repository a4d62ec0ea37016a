-- Archives tasks that wait: they are kept, and not run.
--
-- KEYS[1] pending  [2] groups  [3] where the ids were found  [4] archived
-- ARGV[1] prefix of the queue's keys  [2] clock skew, ms  [3] only from this state, '' any
--     [4] rank in `pending` where the ids were seen  [5] how far from the ends of `pending` gaps
--     are closed, in place of being filled by the newest task
--   then ids
-- Returns { for each: 1 moved, 0 no such task, -1 active, -2 archived already, -3 not where its
--     state says it is, or in another one, -4 pending, but not near that rank },
--     { ids that filled gaps, each with its stay }
--@include clock
--@include window
--@include stay
--@include take_out
--@include tell
local now_s = whole(math.floor(clock_us(ARGV[2]) / 1000000))
local answers = {}
look_around(tonumber(ARGV[4]), ARGV, 6)
for i = 6, #ARGV do
  local task, code = movable(ARGV[1], ARGV[i], ARGV[3])
  if task and task.state == 'archived' then
    code = -2
  elseif task then
    redis.call('ZADD', KEYS[4], now_s, task.id)
    redis.call('HSET', task.key, 'state', 'archived')
    take_out(task)
    tell(task)
  end
  answers[#answers + 1] = code
end
return { answers, close_gaps(ARGV[1] .. 't:', tonumber(ARGV[5])) }
