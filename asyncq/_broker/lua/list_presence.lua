-- Lists the keys of servers, workers or schedulers that are alive, and forgets those that are not.
--
-- KEYS[1] asynq:servers, asynq:workers or asynq:schedulers
-- ARGV[1] now, Unix s
-- Returns key names.
-- A Redis that takes no writes (a replica, or a master without enough of them) is looked at, too.
redis.pcall('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1] - 1)
return redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf')
