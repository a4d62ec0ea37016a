-- Writes the entries of a scheduler, whole. Readers see them in reverse.
--
-- KEYS[1] entries
-- ARGV[1] time to live, whole seconds; then the entries
redis.call('DEL', KEYS[1])
for i = 2, #ARGV do redis.call('LPUSH', KEYS[1], ARGV[i]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return redis.status_reply('OK')
