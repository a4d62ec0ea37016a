-- Writes what a server is and what it runs, whole.
--
-- KEYS[1] server  [2] workers
-- ARGV[1] time to live, whole seconds  [2] the server's info
--   then 2 for each running task: id, the worker's info
-- Returns OK.
redis.call('SETEX', KEYS[1], ARGV[1], ARGV[2])
redis.call('DEL', KEYS[2])
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', KEYS[2], ARGV[1])
return redis.status_reply('OK')
