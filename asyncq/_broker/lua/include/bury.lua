-- Deletes a task that has been in a zset for long enough, with its lock, and takes its id out of
-- there. A task that was left there half moved, and lives on elsewhere, is only taken out.
-- Needs unlock.
local function bury(zset, state, key, id)
  local task = redis.pcall('HMGET', key, 'state', 'asyncq_claim', 'unique_key')
  -- asynq leaves tasks in the archive that say `active` where it stops half-way in trimming it.
  if task.err or not task[1] or task[1] == state or task[1] == 'active' and not task[2] then
    unlock(task[3], id)
    redis.call('DEL', key)
  end
  redis.call('ZREM', zset, id)
end
