-- What is known of the servers outlives the process, in state_dir/health.json: a server
-- that was down is not tried by the first calls after a restart. Worker 0 writes it when
-- something has changed, and the first generation of the next process begins with it as
-- others do with what the generation before knew.
local core = require "tandem.core"
local declare = require "tandem.config.declare"
local pool_state = require "tandem.health.state"
local registry = require "tandem.registry"
local ipairs, pairs, pcall, table, tostring, type = ipairs, pairs, pcall, table, tostring, type

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
  "falls", "latency", "left",
}
local is_time = {
  hold_until = true, failback_until = true, since = true, up_since = true, returned = true,
  left = true,
}
local stores = { server = "tandem.server", places = "tandem.places", history = "tandem.history" }

-- ---- writing ----

local saved, saved_at -- which changes are in there, and when that was

local function texts(server, budget)
  local out = { facts = table.pack(server.facts:get(table.unpack(facts))) }
  out.facts.n = nil
  for name, store in pairs(stores) do
    local text = core.shared(store):get(server.full)
    if name ~= "history" then
      out[name] = text
    elseif text and #text <= budget then
      out.history, budget = text, budget - #text
    end
  end
  return out, budget
end

local function snapshot(now)
  local servers, rosters, budget = {}, {}, history_most
  for _, pool in ipairs(registry.pools) do
    rosters[pool.name] = pool.discover and core.shared "tandem.roster":get(pool.name) or nil
    for _, server in ipairs(pool.servers) do
      servers[server.full], budget = texts(server, budget)
    end
  end
  return {
    version = version, wall = core.wall(), now = now, servers = servers, rosters = rosters,
  }
end

local function save(now)
  local changes = core.changes()
  core.keep(file, core.json_encode(snapshot(now)))
  saved, saved_at = changes, now
end

local function look()
  local now = core.now()
  if saved ~= core.changes() or now - saved_at >= at_least then
    save(now)
  end
end

local timer

function warm.start()
  if declare.setting "state_dir" then
    timer = core.every(interval, look)
  end
end

function warm.stop()
  if timer then
    timer:cancel()
    timer = nil
    save(core.now())
  end
end

-- ---- reading ----

local known = {} -- facts by "pool/server"

-- `by`: the clock of times goes on when only the process is another one, and begins
-- anew with the machine.
local function move_record(text, by)
  local record = core.json_decode(text)
  record.admin = nil -- orders are kept with the overrides; those of scripts they repeat
  for reason, ends in pairs(record.holds or {}) do
    record.holds[reason] = ends + by
  end
  for i, time in ipairs(record.falls or {}) do
    record.falls[i] = time + by
  end
  return core.json_encode(record)
end

local function move_places(text, by)
  local kept = core.json_decode(text)
  for _, place in ipairs(kept.list) do
    place.ends = place.ends and place.ends + by
  end
  return core.json_encode(kept)
end

local function move_roster(text, by)
  local roster = core.json_decode(text)
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

local function restore(full, kept, by, is_fresh)
  if kept.history then
    core.shared "tandem.history":set(full, kept.history)
  end
  if is_fresh then
    local record = move_record(kept.server, by)
    local places = kept.places and move_places(kept.places, by)
    known[full] = move_facts(kept.facts, by)
    core.shared "tandem.server":set(full, record)
    core.shared "tandem.places":set(full, places)
  end
end

local function restore_rosters(rosters, by, age)
  for name, text in pairs(rosters) do
    local pool = registry.pool(name)
    if pool and pool.discover and age <= pool.discover.stale then
      core.shared "tandem.roster":set(name, move_roster(text, by))
    end
  end
end

-- Only of what is declared: others would never be forgotten.
local function restore_all(kept)
  local age = core.wall() - kept.wall
  if age < -ahead then
    return
  end
  local by = core.now() - (kept.now + age)
  restore_rosters(kept.rosters, by, age)
  for full, one in pairs(kept.servers) do
    local pool = registry.pool(full:match "^[^/]+")
    if pool and (pool.discover or registry.server(full)) then
      restore(full, one, by, age <= oldest)
    end
  end
end

-- In worker 0, before anything else.
function warm.load()
  local text = core.kept()
  if not text then
    return
  end
  local ok, why = pcall(function()
    local kept = core.json_decode(text)
    if type(kept) == "table" and kept.version == version then
      restore_all(kept)
    end
  end)
  if not ok then
    core.event("error", "state.damaged", { { "file", file }, { "why", tostring(why) } })
  end
end

-- A server begins with what was known.
---@param server table
---@return boolean is_restored
function warm.take(server)
  local kept = known[server.full]
  if not kept then
    return false
  end
  known[server.full] = nil
  for name, value in pairs(kept) do
    server.facts:set(name, value)
  end
  return true
end

return warm
