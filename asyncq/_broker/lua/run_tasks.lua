-- Makes tasks pending now, at the back of their queue, whatever they were waiting for.
--
-- KEYS[1] pending  [2] groups  [3] where the ids were found
-- ARGV[1] prefix of the queue's keys  [2] clock skew, ms  [3] only from this state, '' any
--     [4] and [5] not used
--   then ids
-- Returns { for each: 1 moved, 0 no such task, -1 active, -2 pending already, -3 not where its state
--     says it is, or in another one }, nothing more
--@include clock
--@include window
--@include stay
--@include take_out
local since = whole(clock_us(ARGV[2])) .. '000'
local answers = {}
spots = {}
for i = 6, #ARGV do
  local task, code = movable(ARGV[1], ARGV[i], ARGV[3])
  if task then
    redis.call('LPUSH', KEYS[1], task.id)
    redis.call('HSET', task.key, 'state', 'pending', 'pending_since', since)
    take_out(task)
  elseif code == -4 then
    code = -2
  end
  answers[#answers + 1] = code
end
return { answers, {} }
