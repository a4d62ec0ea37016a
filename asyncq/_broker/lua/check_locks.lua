-- Says which uniqueness locks of one queue belong to no live task, and gives them up if told to.
--
-- KEYS    locks
-- ARGV[1] prefix of task keys  [2] '1' to give up those of no live task
-- Returns for each { '' in order, 'stale' (its task is gone or completed) or 'type' (it is no
--     string), id of the holder, seconds left or -1 }
local answers = {}
for _, lock in ipairs(KEYS) do
  local id = redis.pcall('GET', lock)
  local answer = { '', '', -1 }
  if type(id) == 'table' then
    answer[1] = 'type'
  elseif id then
    answer[2], answer[3] = id, redis.call('TTL', lock)
    local held = redis.pcall('HMGET', ARGV[1] .. id, 'state', 'msg')
    if held.err or not held[2] or held[1] == 'completed' then
      answer[1] = 'stale'
      if ARGV[2] == '1' then redis.call('DEL', lock) end
    end
  end
  answers[#answers + 1] = answer
end
return answers
