-- Servers that are known by name are looked up ahead of the calls, by worker 0: at
-- start, when what was found has run out, and again when nothing was. A call never
-- waits for that, and what was known stays until something better is.
local core = require "tandem.core"
local check = require "tandem.health.check"
local health = require "tandem.health.health"
local lookup = require "tandem.dns.lookup"
local places = require "tandem.dns.places"
local table = table

local _ENV = nil

local ahead = {}

-- What has run out is no better than what is known, and may be less: one of its answers
-- may be gone by now.
local function found(server, list, is_news, now)
  local is_better = not list.all_stale or #server.places == 0
  local change = is_better and places.update(server, list)
  if change then
    health.addresses(server, change.is_other, now)
  end
  if server.untold then -- also what memory ran out for the last time
    check.retarget(server, now)
    places.tell(server)
  end
  if change or is_news then
    core.event("info", "server.resolved", {
      { "pool", server.pool.name }, { "server", server.name }, { "uri", server.uri },
      { "addresses", table.concat(places.addresses(server.places), ",") }, { "ttl", list.ttl },
    })
  end
end

-- Somebody should look at that; once, until it is found again.
local function lost(server, why)
  core.event("warn", "server.unresolved", {
    { "pool", server.pool.name }, { "server", server.name }, { "uri", server.uri },
    { "reason", why }, { "known", #server.places },
  })
end

---@param server table
function ahead.start(server)
  if not server.is_named then
    return
  end
  local function on_found(list, is_news, now)
    found(server, list, is_news, now)
  end
  local function on_lost(why, is_news)
    if is_news then
      lost(server, why)
    end
  end
  server.lookup = lookup.start(server.uri, on_found, on_lost)
end

---@param server table
---@param now number
function ahead.tend(server, now)
  if server.lookup then
    lookup.tend(server.lookup, now)
  end
end

---@param server table
function ahead.stop(server)
  if server.lookup then
    lookup.stop(server.lookup)
  end
end

return ahead
