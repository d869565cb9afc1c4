-- The servers of a pool that come and go (discover.lua). Worker 0 decides who is on the
-- list, tells the others, and keeps it for the next generation; each worker makes its
-- Servers of it. An entry is { name =, addr =, uri =, target =, tier =, weight = }, and
-- whoever has left DNS stays on the list until its calls are over.
local core = require "tandem.core"
local check = require "tandem.check"
local health = require "tandem.health"
local history = require "tandem.history"
local link = require "tandem.link"
local orders = require "tandem.orders"
local places = require "tandem.places"
local pools = require "tandem.pool"
local record = require "tandem.record"
local registry = require "tandem.registry"
local report = require "tandem.report"
local server = require "tandem.server"
local ipairs = ipairs

local _ENV = nil

local roster = {}

local topic = "tandem.roster"

local function store()
  return core.shared "tandem.roster"
end

-- ---- making them ----

-- A server whose place another one takes now is not remembered any more.
local function forget(was)
  record.erase(was)
  history.erase(was)
  places.erase(was)
end

-- Nil when there is no room for one more.
local function make(pool, entry)
  local facts, was = core.join(pool.name, entry.name, server.identity(pool.tls, entry.uri))
  if not facts then
    return nil
  elseif was then
    forget(was)
  end
  return server.found({
    name = entry.name, uri = "sip:" .. entry.addr, tier = entry.tier, weight = entry.weight,
    check = pool.check, rewrite = pool.discover.rewrite, domain = entry.uri,
  }, pool, facts)
end

-- The servers of this worker become those of the list. Gives who is new and who is gone.
local function apply(pool, list)
  local all, joined, stays = {}, {}, {}
  for _, entry in ipairs(list) do
    local found = pool.by_name[entry.name]
    if found then
      found.tier, found.weight = entry.tier, entry.weight
    else
      found = make(pool, entry)
      joined[#joined + 1] = found
    end
    if found then
      all[#all + 1], stays[found] = found, true
    end
  end
  local gone = {}
  for _, found in ipairs(pool.servers) do
    if not stays[found] then
      gone[#gone + 1] = found
    end
  end
  pools.arrange(pool, all)
  for _, found in ipairs(joined) do
    registry.join(found)
  end
  return joined, gone
end

local function leave(gone)
  for _, found in ipairs(gone) do
    registry.leave(found)
    found.facts:leave()
    server.class.forget(found)
  end
end

-- ---- worker 0 ----

local function begin(found, now)
  health.start(found, now)
  orders.start(found, now)
  check.start(found, now)
  places.start(found)
  report.start(found, found.is_new, now)
end

local function tell(pool)
  local message = core.json_encode { pool.name, pool.roster.list }
  for worker = 1, core.workers() - 1 do
    core.post(worker, topic, message)
  end
end

-- What is kept, beside the list: what discover.lua wants to find again.
---@param pool table
function roster.save(pool)
  store():set(pool.name, core.json_encode(pool.roster))
end

-- The list has become another one.
---@param pool table with its roster
---@param now number
---@return table[] joined servers
function roster.change(pool, now)
  local joined, gone = apply(pool, pool.roster.list)
  for _, found in ipairs(joined) do
    begin(found, now)
  end
  for _, found in ipairs(gone) do
    check.stop(found)
    health.stop(found)
    orders.stop(found)
  end
  leave(gone)
  roster.save(pool)
  tell(pool)
  return joined
end

-- ---- all workers ----

link.receiver(topic, function(message)
  local pool = registry.pool(message[1])
  if not pool or not pool.discover then -- a reload may have taken it away
    return
  end
  local joined, gone = apply(pool, message[2])
  for _, found in ipairs(joined) do
    places.load(found)
    places.start(found)
  end
  leave(gone)
end)

-- A generation begins with what is known.
---@param pool table
function roster.load(pool)
  local text = store():get(pool.name)
  pool.roster = text and core.json_decode(text) or { list = {}, found = {} }
  apply(pool, pool.roster.list)
end

return roster
