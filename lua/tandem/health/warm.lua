-- What is known of the servers outlives the process, in state_dir/health.json: a server
-- that was down is not tried by the first calls after a restart. Worker 0 writes it when
-- something has changed, and the first generation of the next process begins with it as
-- others do with what the generation before knew.
local core = require "tandem.core"
local declare = require "tandem.config.declare"
local kept = require "tandem.health.kept"
local pool_state = require "tandem.health.state"
local registry = require "tandem.registry"
local ipairs, math, pairs, pcall, table = ipairs, math, pairs, pcall, table
local tostring = tostring

local _ENV = nil

local warm = {}

local file = "health.json"
local version = 1
local interval = 1 -- seconds between two looks
local at_least = 60 -- also when nothing has changed: what is not written is old
local oldest = 600 -- what was known longer ago says nothing of a server
local ahead = 60 -- a clock that was put back by more is not believed
local history_most = 1e6 -- bytes, of all servers: an entry into Lua has limits

local facts = {
  "health", "hold_until", "failback_until", "trial", "since", "up_since", "returned", "streak",
  "falls", "left", "latency", -- the last one: see text_of
}
local is_time = {
  hold_until = true, failback_until = true, since = true, up_since = true, returned = true,
  left = true,
}
local stores = { server = "tandem.server", places = "tandem.places", history = "tandem.history" }

-- ---- writing ----

local saved, saved_at -- which changes are in there, and when that was
local fresh_most = 100 -- servers that are written anew in one go: others want to run too
local soon = 0.01 -- seconds until the next

-- What is kept of a server, as JSON; and whether that had to be made. Latencies change
-- all the time, and come along when something else has changed.
local function text_of(server, budget)
  local values = table.pack(server.facts:get(table.unpack(facts)))
  values.n = nil
  local record = core.shared(stores.server):get(server.full)
  local places = core.shared(stores.places):get(server.full)
  local key = table.concat(values, " ", 1, #values - 1) .. (record or "") .. (places or "")
  if server.warm_key == key then
    return server.warm_text, false
  end
  local history = core.shared(stores.history):get(server.full)
  server.warm_key, server.warm_text = key, core.json_encode(server.full) .. ":"
    .. core.json_encode {
      facts = values, server = record, places = places,
      history = history and #history <= budget and history or nil,
    }
  return server.warm_text, true
end

-- The text of the whole; nil when there is too much to make anew in one go.
local function snapshot(now, most)
  local servers, rosters, made, budget = {}, {}, 0, history_most
  for _, pool in ipairs(registry.pools) do
    rosters[pool.name] = pool.discover and core.shared "tandem.roster":get(pool.name) or nil
    for _, server in ipairs(pool.servers) do
      local text, is_made = text_of(server, budget)
      servers[#servers + 1], budget = text, budget - #text
      made = made + (is_made and 1 or 0)
      if made >= most then
        return nil
      end
    end
  end
  return ('{"version":%d,"wall":%.6f,"now":%.6f,"rosters":%s,"servers":{%s}}'):format(version,
    core.wall(), now, core.json_encode(rosters), table.concat(servers, ","))
end

local function save(now, most)
  local changes = core.changes()
  local text = snapshot(now, most)
  if text then
    core.keep(file, text)
    saved, saved_at = changes, now
  end
  return text ~= nil
end

local timer, next_part

local function look()
  local now = core.now()
  if saved == core.changes() and now - saved_at < at_least then
    return
  elseif not save(now, fresh_most) then
    next_part = core.after(soon, look)
  end
end

function warm.start()
  if declare.setting "state_dir" then
    timer = core.every(interval, look)
  end
end

-- The last thing that is done.
function warm.stop()
  if timer then
    timer:cancel()
    timer = nil
    if next_part then
      next_part:cancel()
    end
    save(core.now(), math.huge)
  end
end

-- ---- reading ----

local known = {} -- facts by "pool/server"

-- What is damaged is told of, and left out.
local function try(fn)
  local ok, why = pcall(fn)
  if not ok then
    core.event("error", "state.damaged", { { "file", file }, { "why", tostring(why) } })
  end
end

-- `by`: the clock of times goes on when only the process is another one, and begins
-- anew with the machine. Orders are kept with the overrides; those of scripts they repeat.
local function move_record(record, by)
  for reason, ends in pairs(record.holds or {}) do
    record.holds[reason] = ends + by
  end
  for i, time in ipairs(record.falls or {}) do
    record.falls[i] = time + by
  end
  return core.json_encode(record)
end

local function move_places(was, by)
  for _, place in ipairs(was.list) do
    place.ends = place.ends and place.ends + by
  end
  return core.json_encode(was)
end

local function move_roster(roster, by)
  for _, found in pairs(roster.found) do
    for _, place in ipairs(found.list) do
      place.at = place.at + by
    end
  end
  return core.json_encode(roster)
end

local function move_facts(values, by)
  local out = {}
  for i, name in ipairs(facts) do
    local value = values[i]
    if is_time[name] and value ~= 0 and value ~= pool_state.endless then
      value = value + core.us(by)
    end
    out[name] = name == "trial" and value > 1 and 1 or value -- nobody is on trial
  end
  return out
end

local function restore(full, was, by, is_fresh)
  if was.history then
    core.shared "tandem.history":set(full, core.json_encode(was.history))
  end
  if is_fresh then
    local record = was.server and move_record(was.server, by)
    local places = was.places and move_places(was.places, by)
    known[full] = move_facts(was.facts, by)
    core.shared "tandem.server":set(full, record)
    core.shared "tandem.places":set(full, places)
  end
end

local function restore_rosters(rosters, by, age)
  for name, text in pairs(rosters) do
    local pool = registry.pool(name)
    if pool and pool.discover and age <= pool.discover.stale then
      core.shared "tandem.roster":set(name, move_roster(kept.roster(name, text), by))
    end
  end
end

-- Only of what is declared: others would never be forgotten.
local function is_declared(full)
  local pool = registry.pool(full:match "^[^/]+" or "")
  return pool and (pool.discover or registry.server(full))
end

-- One that is damaged begins as if nothing had been known of it.
local function restore_servers(doc, by, age)
  for full, one in pairs(doc.servers) do
    if is_declared(full) then
      try(function()
        restore(full, kept.server(full, one, facts), by, age <= oldest)
      end)
    end
  end
end

local function restore_all(text)
  local doc = kept.document(text, version)
  local age = doc and core.wall() - doc.wall
  if not doc or age < -ahead then
    return
  end
  local by = core.now() - (doc.now + age)
  restore_servers(doc, by, age)
  try(function()
    restore_rosters(doc.rosters, by, age)
  end)
end

-- In worker 0, before anything else.
function warm.load()
  local text = core.kept()
  if text then
    try(function()
      restore_all(text)
    end)
  end
end

-- A server begins with what was known.
---@param server table
---@return boolean is_restored
function warm.take(server)
  local was = known[server.full]
  if not was then
    return false
  end
  known[server.full] = nil
  for name, value in pairs(was) do
    server.facts:set(name, value)
  end
  return true
end

return warm
