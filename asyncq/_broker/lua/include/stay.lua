-- Tells a task's stay in `pending` or `active` from a later one: it may have been run and be
-- back, at either end of the list.
local function stay(key)
  local task = redis.pcall('HMGET', key, 'pending_since', 'asyncq_claim')
  return task.err and '' or task[1] or task[2] or ''
end
