-- Says which entries of a place are not of tasks in its state. Changes nothing.
--
-- KEYS[1] the place
-- ARGV[1] prefix of task keys  [2] state  [3] '=' and the group, '' any; then ids
-- Returns the ids whose task is missing, has no message, or is in another state or group.
local wrong = {}
for i = 4, #ARGV do
  local id = ARGV[i]
  local held = redis.pcall('HMGET', ARGV[1] .. id, 'state', 'group')
  local agrees = not held.err and held[1] == ARGV[2] and (ARGV[3] == '' or '=' .. (held[2] or '') == ARGV[3])
  if not agrees or redis.call('HSTRLEN', ARGV[1] .. id, 'msg') == 0 then
    wrong[#wrong + 1] = id
  end
end
return wrong
