-- Adds to the history of a scheduler's entry; the oldest events make room.
--
-- KEYS[1] history
-- ARGV[1] time of the event, Unix s  [2] the event  [3] the most events to keep
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
return redis.status_reply('OK')
