-- One task as lists show it: { id, message, result, score, orphaned 0 or 1, why parked }. False
-- if its key is no hash or has no message: nothing could be shown or done.
local function entry(prefix, lease_key, now_s, id, score)
  local task = redis.pcall('HMGET', prefix .. id, 'msg', 'result', 'state', 'asyncq_parked')
  if task.err or not task[1] then return false end
  local orphaned = 0
  if task[3] == 'active' then
    local lease_end = redis.call('ZSCORE', lease_key, id)
    if not lease_end or tonumber(lease_end) <= now_s then orphaned = 1 end
  end
  return { id, task[1], task[2] or '', score or '', orphaned, task[4] or '' }
end
