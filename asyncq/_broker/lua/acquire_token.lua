-- Takes a token of a semaphore for a task, until the task's deadline. A task that holds one
-- keeps it: asking again after a lost reply takes no second one.
--
-- KEYS[1] semaphore
-- ARGV[1] most tokens  [2] deadline, Unix s  [3] task id  [4] clock skew, ms
-- Returns 1 taken or held, 0 none left.
--@include clock
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(math.floor(clock_us(ARGV[4]) / 1000000) - 1))
local held = redis.call('ZSCORE', KEYS[1], ARGV[3])
if not held and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
return 1
