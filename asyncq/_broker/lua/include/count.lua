-- Daily counters live for 90 days; running totals wrap to 1 at the largest int64, compared as
-- asynq compares them (as doubles, `processed` alone deciding for both).
local LARGEST = 9223372036854775807

local function count_day(key, n, now_s)
  if n > 0 and redis.call('INCRBY', key, n) == n then
    redis.call('EXPIREAT', key, whole(now_s + 7776000))
  end
end

local function count_totals(processed_key, failed_key, processed, failed)
  if tonumber(redis.call('GET', processed_key) or '0') < 9.2e18 then
    if processed > 0 then redis.call('INCRBY', processed_key, processed) end
    if failed > 0 then redis.call('INCRBY', failed_key, failed) end
    return
  end
  for n = 1, processed do
    local wrap = tonumber(redis.call('GET', processed_key)) == LARGEST
    if wrap then redis.call('SET', processed_key, 1) else redis.call('INCR', processed_key) end
    if n <= failed then
      if wrap then redis.call('SET', failed_key, 1) else redis.call('INCR', failed_key) end
    end
  end
end
