-- Stores the tasks named from ARGV[first] on, id and message by turns, as enqueue_task would: all
-- of them pending now, under ids made by asyncq, with neither group nor lock.
-- Returns an answer for each: 1 stored, or what enqueue_task answers. Needs enqueue_task.
local function enqueue_plain(q, now_us, first)
  local task_keys, answers, fresh = {}, {}, {}
  for i = first, #ARGV, 2 do task_keys[#task_keys + 1] = q.tasks .. ARGV[i] end

  -- What is sent again is there, or some of it: that is for a closer look.
  if redis.call('EXISTS', unpack(task_keys)) > 0 then
    for i = first, #ARGV, 2 do
      local ok, answer = attempt(enqueue_task, q, now_us, ARGV[i], ARGV[i + 1], '', '', '', '', 0)
      answers[#answers + 1] = ok and answer or { -2, answer, '0' }
    end
    return answers
  end

  local seen = {}
  for i = first, #ARGV, 2 do
    if not seen[ARGV[i]] then fresh[#fresh + 1] = ARGV[i] end
    seen[ARGV[i]] = true
  end
  -- Their hashes last, as in enqueue_task.
  local pushed = redis.pcall('LPUSH', q.pending, unpack(fresh))
  if type(pushed) == 'table' then
    for n = 1, #task_keys do answers[n] = { -2, pushed.err, '0' } end
    return answers
  end
  local since = whole(now_us) .. '000'
  for n, key in ipairs(task_keys) do
    local i = first + 2 * n - 2
    local stored =
      redis.pcall('HSET', key, 'msg', ARGV[i + 1], 'state', 'pending', 'pending_since', since)
    if type(stored) == 'table' then
      answers[n] = { -2, stored.err, '0' }
      redis.pcall('LREM', q.pending, 1, ARGV[i])
    else
      answers[n] = 1
    end
  end
  return answers
end
