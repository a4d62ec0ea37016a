-- The next tasks in one state: of a list from its right end, of a zset in order. Goes on after the
-- last of those looked at before that is still there; where it is gone from a zset, after its
-- place. Stops early where messages are long. Ids without a task are passed over.
--
-- KEYS[1] list or zset  [2] lease
-- ARGV[1] prefix of task keys  [2] 'list' or 'zset'  [3] at most so many  [4] '1' for ids only
--     [5] clock skew, ms  [6] rank to start at; list: where to look for those looked at before
--   then a list's ids looked at before, in order, each followed by its stay; of a zset only the
--   last id looked at, and its score; nothing at the start
-- Returns { rank of the first id, or -1 if none of those looked at before is near the rank,
--     { id, its stay or score, ... }, { entries as include/entry.lua },
--     { ids looked at before that are near and still there }, 1 at the end }
--@include clock
--@include entry
--@include window
--@include stay
local MOST_BYTES = 1048576
local count, rank = tonumber(ARGV[3]), tonumber(ARGV[6])
local now_s = clock_us(ARGV[5]) / 1000000

-- Byte by byte: Lua's own order of strings follows the server's locale, that of zsets does not.
local function after(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x > y end
  end
  return #a > #b
end

local function rank_after(last, score)
  local now_at = redis.call('ZSCORE', KEYS[1], last)
  if now_at and tonumber(now_at) == tonumber(score) then
    return redis.call('ZRANK', KEYS[1], last) + 1
  end
  local low = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. score)
  local high = low + redis.call('ZCOUNT', KEYS[1], score, score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if after(redis.call('ZRANGE', KEYS[1], middle, middle)[1], last) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

local before = {}
local function rank_after_stays()
  local stays = {}
  for n = 7, #ARGV, 2 do stays[ARGV[n]] = ARGV[n + 1] end
  local first, ids = window(KEYS[1], rank, 0)
  for n = #ids, 1, -1 do
    if stays[ids[n]] and stay(ARGV[1] .. ids[n]) == stays[ids[n]] then
      for i = 1, n do
        if stays[ids[i]] then before[#before + 1] = ids[i] end
      end
      return first + n
    end
  end
  return -1
end

local found = {}
if ARGV[2] == 'zset' then
  if ARGV[7] then rank = rank_after(ARGV[7], ARGV[8]) end
  found = redis.call('ZRANGE', KEYS[1], rank, rank + count - 1, 'WITHSCORES')
else
  if ARGV[7] then rank = rank_after_stays() end
  if rank < 0 then return { -1, {}, {}, {}, 0 } end
  local ids = redis.call('LRANGE', KEYS[1], -rank - count, -rank - 1)
  for i = #ids, 1, -1 do
    found[#found + 1] = ids[i]
    found[#found + 1] = stay(ARGV[1] .. ids[i])
  end
end

local looked, entries, bytes = {}, {}, 0
for i = 1, #found, 2 do
  if bytes > MOST_BYTES then break end
  looked[i], looked[i + 1] = found[i], found[i + 1]
  if ARGV[4] ~= '1' then
    local task = entry(ARGV[1], KEYS[2], now_s, found[i], ARGV[2] == 'zset' and found[i + 1])
    if task then
      entries[#entries + 1] = task
      bytes = bytes + #task[2] + #task[3]
    end
  end
end
local size = redis.call(ARGV[2] == 'zset' and 'ZCARD' or 'LLEN', KEYS[1])
return { rank, looked, entries, before, rank + #looked / 2 >= size and 1 or 0 }
