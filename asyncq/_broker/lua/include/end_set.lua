-- Frees the locks of an aggregation set's parts, deletes the parts and the set. Parts named as
-- unreadable that exist go to the archive in place of being deleted. Where the archive does not
-- take one, `keep` is called with its id and the error: it keeps the part somewhere, or raises.
-- The set goes last: until then it is reclaimed, whatever goes wrong. Needs unlock.
local function end_set(set, sets, archived, tasks, now_s, why, unreadable, keep)
  while true do
    local slice = redis.call('ZRANGE', set, 0, 999)
    if #slice == 0 then break end
    for _, id in ipairs(slice) do
      local key = tasks .. id
      local part = redis.pcall('HMGET', key, 'msg', 'unique_key')
      if unreadable[id] and (part.err or part[1]) then
        local added = redis.pcall('ZADD', archived, now_s, id)
        if type(added) == 'table' then
          keep(id, added.err)
        elseif not part.err then
          redis.pcall('HSET', key, 'state', 'archived', 'asyncq_parked', why)
        end
      else
        unlock(part[2], id)
        redis.call('DEL', key)
      end
    end
    redis.call('ZREMRANGEBYRANK', set, 0, 999)
  end
  redis.call('ZREM', sets, set)
end
