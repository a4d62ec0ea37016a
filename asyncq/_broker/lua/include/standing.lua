-- Where a task stands, and whether that is where its hash says.
-- KEYS[1] pending  [2] active  [3] lease  [4] scheduled  [5] retry  [6] archived  [7] completed
--     [8] groups  [9] aggregation_sets  [10] parked
-- ARGV[1] prefix of task keys  [2] prefix of group keys
-- Places of a wrong type count as empty: they are a trouble of their own.
local ZSETS = { scheduled = KEYS[4], retry = KEYS[5], archived = KEYS[6], completed = KEYS[7] }
-- Of several places the first is kept, unless the state names another of them: what runs, then
-- what will, then what did.
local ORDER = { 'active', 'pending', 'retry', 'scheduled', 'aggregating', 'completed', 'archived' }

local function score_in(zset, id)
  local score = redis.pcall('ZSCORE', zset, id)
  return type(score) == 'string' and tonumber(score) or nil
end

local function times_in(list, id)
  local found = redis.pcall('LPOS', list, id, 'COUNT', 0)
  return found.err and 0 or #found
end

local listed_sets
local function sets_of(group)
  if not listed_sets then
    listed_sets = redis.pcall('ZRANGE', KEYS[9], 0, 999)
    if listed_sets.err then listed_sets = {} end
  end
  local prefix, found = ARGV[2] .. group .. ':', {}
  for _, set in ipairs(listed_sets) do
    if string.sub(set, 1, #prefix) == prefix and not string.find(set, ':', #prefix + 1, true) then
      found[#found + 1] = set
    end
  end
  return found
end

-- `deep`: look in `pending`, too, which takes a walk along it. `zset`: where the id was seen, of
-- the group `zset_group`; '' if it was not in a group.
local function stand(id, deep, zset, zset_group)
  local task = { id = id, key = ARGV[1] .. id, at = {}, zsets = {}, pending = 0 }
  local held = redis.pcall('HMGET', task.key, 'state', 'msg', 'group', 'asyncq_parked')
  if held.err then
    task.err = held.err
    held = {}
  end
  task.state, task.msg, task.group = held[1] or '', held[2] or false, held[3] or ''
  task.parked = held[4]
  task.lease = score_in(KEYS[3], id)
  task.active = times_in(KEYS[2], id)
  if task.active > 0 then task.at.active = true end
  for state, key in pairs(ZSETS) do
    if score_in(key, id) then task.at[state] = true end
  end
  local groups = {}
  if task.group ~= '' then
    for _, set in ipairs(sets_of(task.group)) do groups[#groups + 1] = { set, task.group } end
    groups[#groups + 1] = { ARGV[2] .. task.group, task.group }
  end
  if zset ~= '' then groups[#groups + 1] = { zset, zset_group } end
  for _, one in ipairs(groups) do
    if score_in(one[1], id) then
      if not task.zsets[one[1]] then task.zsets[#task.zsets + 1] = one end
      task.zsets[one[1]] = true
    end
  end
  if #task.zsets > 0 then task.at.aggregating = true end
  if deep then
    task.pending = times_in(KEYS[1], id)
    if task.pending > 0 then task.at.pending = true end
  end
  task.places = {}
  for _, place in ipairs(ORDER) do
    if task.at[place] then task.places[#task.places + 1] = place end
  end
  return task
end

-- What is wrong with a task: '' nothing, else
--     nohash   its key is something else, and it is not set aside in `parked` yet
--     ghost    it has no message, or is only an entry in some place
--     lost     it stands nowhere
--     astray   it does not stand where its state says, but elsewhere
--     doubled  it stands where its state says, and in another place, too, or twice
--     unleased it is active without a lease
--     leased   it has a lease, but is not active
--     unknown  it may be in `pending`, where was not looked
local function trouble(task, deep)
  local nowhere = #task.places == 0 and not task.lease
  if task.err then
    if nowhere and redis.pcall('HEXISTS', KEYS[10], task.id) == 1 then return '' end
    return 'nohash'
  elseif not task.msg then
    if nowhere and redis.call('EXISTS', task.key) == 0 then return '' end
    return 'ghost'
  end
  if #task.places == 0 then
    if deep then return 'lost' end
    return 'unknown'
  end
  if not task.at[task.state] then
    if not deep and task.state == 'pending' then return 'unknown' end
    return 'astray'
  end
  if #task.places > 1 or task.pending > 1 or task.active > 1 or #task.zsets > 1 then
    return 'doubled'
  end
  if task.at.active and not task.lease then return 'unleased' end
  if task.lease and not task.at.active then return 'leased' end
  return ''
end
