-- Gives up a uniqueness lock, if this task holds it.
local function unlock(lock, id)
  if lock and lock ~= '' and redis.pcall('GET', lock) == id then redis.call('DEL', lock) end
end
