-- Frees the locks of an aggregation set's parts, deletes the parts and the set. Parts named as
-- unreadable that exist go to the archive in place of being deleted. Those that it does not take
-- stay in the set, which then stays, too, and is reclaimed. The set goes last: until then it is
-- reclaimed, whatever goes wrong. Needs unlock.
-- Returns why a part stayed, if one did.
local function end_set(set, sets, archived, tasks, now_s, why, unreadable)
  local kept, failed = 0, nil

  local function archive(id, key, is_hash)
    local answer = redis.pcall('ZADD', archived, now_s, id)
    if type(answer) == 'number' and is_hash then
      answer = redis.pcall('HSET', key, 'state', 'archived', 'asyncq_parked', why)
    end
    if type(answer) == 'number' then return true end
    failed = answer.err
    return false
  end

  while true do
    local slice = redis.call('ZRANGE', set, kept, kept + 999)
    if #slice == 0 then break end
    local gone = {}
    for _, id in ipairs(slice) do
      local key = tasks .. id
      local part = redis.pcall('HMGET', key, 'msg', 'unique_key')
      if not (unreadable[id] and (part.err or part[1])) then
        unlock(part[2], id)
        redis.call('DEL', key)
        gone[#gone + 1] = id
      elseif archive(id, key, not part.err) then
        gone[#gone + 1] = id
      end
    end
    if #gone > 0 then redis.call('ZREM', set, unpack(gone)) end
    kept = kept + #slice - #gone
  end
  if kept == 0 then redis.call('ZREM', sets, set) end
  return failed
end
