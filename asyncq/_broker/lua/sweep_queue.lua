-- Deletes keys of a queue that has no tasks.
--
-- KEYS    as in drop_queue
-- ARGV    keys to delete
-- Returns how many were deleted, or -1 if the queue has tasks again.
if redis.call('EXISTS', unpack(KEYS)) > 0 then return -1 end
return redis.call('UNLINK', unpack(ARGV))
