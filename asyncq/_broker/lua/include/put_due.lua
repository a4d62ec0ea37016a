-- Puts a task into `zset` (scheduled or retry) until its time. The score is in whole seconds,
-- rounded up, so that nobody takes it early. A time less than a minute ahead also stands in
-- `due` to the millisecond, and a new first entry there is announced to the forwarder.
-- Where no asyncq worker forwards, nobody empties `due`: it is trimmed here, and expires. Where
-- something else stands there, the task goes by its score.
local function put_due(zset, due_key, channel, id, due_ms, now_ms)
  if due_ms - now_ms < 60000 then
    local trimmed = redis.pcall('ZREMRANGEBYSCORE', due_key, '-inf', whole(now_ms - 120000))
    if type(trimmed) == 'number' then
      redis.call('ZADD', due_key, whole(due_ms), id)
      redis.call('PEXPIRE', due_key, 180000)
      if redis.call('ZRANGE', due_key, 0, 0)[1] == id then
        -- Only a hint: a user who may not publish still gets the task, within a second.
        redis.pcall('PUBLISH', channel, whole(due_ms))
      end
    elseif not string.find(trimmed.err, 'WRONGTYPE', 1, true) then
      error(trimmed.err, 0)
    end
  end
  -- After `due`: an entry there without this one is dropped, and nothing is half done.
  redis.call('ZADD', zset, whole(math.ceil(due_ms / 1000)), id)
end
