-- The servers of a pool that come and go (discover.lua). Worker 0 decides who is on the
-- list, tells the others, and keeps it for the next generation; each worker makes its
-- Servers of it. An entry is { name =, addr =, uri =, target =, tier =, weight = }, and
-- whoever has left DNS stays on the list until its calls are over.
local core = require "tandem.core"
local check = require "tandem.health.check"
local health = require "tandem.health.health"
local history = require "tandem.health.history"
local link = require "tandem.link"
local orders = require "tandem.health.orders"
local places = require "tandem.dns.places"
local pools = require "tandem.pool"
local record = require "tandem.health.record"
local registry = require "tandem.registry"
local report = require "tandem.health.report"
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

-- The server of an entry, with what is known of it: nothing may look at it before.
local function take(pool, entry, is_known)
  local found = make(pool, entry)
  if found and core.worker() == 0 and not is_known then
    health.start(found, core.now())
  elseif found and not is_known then
    places.load(found)
  end
  return found
end

local function leave(found)
  if core.worker() == 0 then
    check.stop(found)
    health.stop(found)
    orders.stop(found)
  end
  registry.leave(found)
  found.facts:leave()
  server.class.forget(found)
end

-- The servers of this worker become those of the list: all of it, or nothing and an
-- error. `is_known`: they were there in the generation before.
local function apply(pool, list, is_known)
  local all, entries, stays = {}, {}, {}
  for _, entry in ipairs(list) do
    local found = pool.by_name[entry.name] or take(pool, entry, is_known)
    if found and found.known_as ~= entry.uri then
      server.rename(found, entry.uri, pool.discover.rewrite)
    end
    if found then
      found.begun = found.begun or is_known
      registry.join(found)
      all[#all + 1], stays[found] = found, true
      entries[#all] = entry
    end
  end
  local gone = {}
  for _, found in ipairs(pool.servers) do
    if not stays[found] then
      gone[#gone + 1] = found
    end
  end
  for i, found in ipairs(all) do
    found.tier, found.weight = entries[i].tier, entries[i].weight
  end
  pools.arrange(pool, all)
  for _, found in ipairs(gone) do
    leave(found)
  end
end

-- Once for each server, when it is in its pool. Gives those it was done for.
local function begin(pool, each)
  local joined = {}
  for _, found in ipairs(pool.servers) do
    if not found.begun then
      each(found)
      found.begun = true
      joined[#joined + 1] = found
    end
  end
  return joined
end

-- ---- worker 0 ----

local function tell(pool)
  local message = core.json_encode { pool.name, pool.roster.list }
  for worker = 1, core.workers() - 1 do
    core.post(worker, topic, message)
  end
end

-- What others should know, and the next generation: the list, and what discover.lua wants
-- to find again.
---@param pool table
function roster.save(pool)
  store():set(pool.name, core.json_encode(pool.roster))
  tell(pool)
end

-- The list has become another one.
---@param pool table with its roster
---@param now number
---@return table[] joined servers
function roster.change(pool, now)
  apply(pool, pool.roster.list, false)
  local joined = begin(pool, function(found)
    check.stop(found) -- of an attempt that ended halfway
    orders.begin(found, now)
    check.start(found, now)
    places.start(found)
    report.start(found, found.is_new, now)
    orders.tell(found, now)
  end)
  roster.save(pool)
  return joined
end

-- ---- all workers ----

local retry = 1 -- seconds, when memory ran out

local function follow(pool, list)
  local again = core.after(retry, function()
    follow(pool, list)
  end)
  if pool.follows then
    pool.follows:cancel()
  end
  pool.follows = again
  apply(pool, list, false)
  begin(pool, places.start)
  again:cancel()
end

link.receiver(topic, function(message)
  local pool = registry.pool(message[1])
  if pool and pool.discover then -- else a reload has taken it away
    follow(pool, message[2])
  end
end)

-- A generation begins with what is known.
---@param pool table
function roster.load(pool)
  local text = store():get(pool.name)
  pool.roster = text and core.json_decode(text) or { list = {}, found = {} }
  apply(pool, pool.roster.list, true)
end

return roster
