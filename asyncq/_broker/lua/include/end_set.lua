-- Frees the locks of an aggregation set's parts, deletes the parts and the set. Parts named as
-- unreadable that exist go to the archive in place of being deleted. Needs unlock.
local function end_set(set, sets, archived, tasks, now_s, why, unreadable)
  while true do
    local slice = redis.call('ZPOPMIN', set, 1000)
    if #slice == 0 then break end
    for i = 1, #slice, 2 do
      local id = slice[i]
      local key = tasks .. id
      local part = redis.pcall('HMGET', key, 'msg', 'unique_key')
      if unreadable[id] and (part.err or part[1]) then
        -- What was made of the set stands: nothing may stop the set from going.
        redis.pcall('ZADD', archived, now_s, id)
        redis.pcall('HSET', key, 'state', 'archived', 'asyncq_parked', why)
      else
        unlock(part[2], id)
        redis.call('DEL', key)
      end
    end
  end
  redis.call('ZREM', sets, set)
end
