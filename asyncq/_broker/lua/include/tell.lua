-- Wakes clients that wait for the task's end. Only a hint: they also look now and then.
local function tell(task)
  if task.waited then redis.pcall('PUBLISH', 'asyncq:done', task.key) end
end
