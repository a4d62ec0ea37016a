-- Says where tasks of one queue stand, and what is wrong with that. Changes nothing.
--
-- KEYS and ARGV[1] to [2] as in include/standing.lua
-- ARGV[3] '1' to look in `pending`, too  [4] group or aggregation set where the ids were seen, or ''
--     [5] its group's name  [6] longest message to return, bytes; then ids
-- Returns for each { id, what is wrong (as in include/standing.lua), state, places with ',' between,
--     message, nothing if it is longer or there is none, why it is parked or '' }
--@include standing
local deep, longest = ARGV[3] == '1', tonumber(ARGV[6])
local answers = {}
for i = 7, #ARGV do
  local task = stand(ARGV[i], deep, ARGV[4], ARGV[5])
  local msg = task.msg
  if msg and #msg > longest then msg = false end
  answers[#answers + 1] = {
    task.id, trouble(task, deep), task.state, table.concat(task.places, ','),
    msg, task.parked or '',
  }
end
return answers
