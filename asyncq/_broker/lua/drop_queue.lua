-- Deletes all places where tasks of a queue stand, at once, if that is allowed. Their hashes and
-- all that is left of the queue go later, in slices (sweep_queue).
--
-- KEYS[1] active  [2] completed  [3] pending  [4] scheduled  [5] retry  [6] archived  [7] groups
--     [8] aggregation_sets
-- ARGV[1] '1' to delete tasks that wait or are archived, too
-- Returns 1 deleted, 0 refused: it has tasks, or some that run.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if ARGV[1] ~= '1' and redis.call('EXISTS', unpack(KEYS, 3)) > 0 then return 0 end
redis.call('UNLINK', unpack(KEYS))
return 1
