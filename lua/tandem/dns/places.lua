-- Where the servers are, as this worker knows it: the addresses that the script says, or
-- that were found for a name ahead of the calls (ahead.lua). Worker 0 decides; it tells
-- its core and the other workers, and keeps it for the next generation.
--
-- A place is { addr = "10.0.0.1:5060;transport=udp", rank =, weight =, target = } and,
-- of a server that has several (address.lua), health =, streak = and ends =.
local core = require "tandem.core"
local link = require "tandem.link"
local misuse = require "tandem.config.misuse"
local pool_state = require "tandem.health.state"
local registry = require "tandem.registry"
local ipairs, math, pairs = ipairs, math, pairs
local pcall, table = pcall, table

local _ENV = nil

local places = {}

local topic = "tandem.places"
local most = 16 -- that the core keeps of a server; of more the last are left out
local kept_fields = { "addr", "rank", "weight", "target", "health", "streak", "ends" }

local function store()
  return core.shared "tandem.places"
end

-- ---- what the script says ----

local function bracketed(host)
  return host:find(":", 1, true) and host:sub(1, 1) ~= "[" and "[" .. host .. "]" or host
end

---@param uri table as core.parse_uri gives it
---@return string host in brackets when it is an IPv6 address
function places.host(uri)
  return bracketed(uri.host)
end

local ports = { udp = 5060, tcp = 5060, tls = 5061 }

local function transport_of(uri)
  return uri.scheme == "sips" and "tls" or uri.transport or "udp"
end

-- One address of a server, as the core writes it; what it does not say its URI does.
local function addr(uri, of_server, transport)
  return ("%s:%d;transport=%s"):format(bracketed(uri.ip or uri.host),
    uri.port or of_server.port or ports[transport], transport)
end

local function place(at, rank)
  return { addr = at, rank = rank, weight = 0, health = "unknown", streak = 0 }
end

-- The places of a server's checked options, or none yet when it is known by name; and
-- in a word where it is, to know it again after a reload.
---@param options { uri: string, addresses: string[]? }
---@return table[] list
---@return string at
---@return boolean is_named
function places.declared(options)
  local uri, list = core.parse_uri(options.uri), {}
  local transport = transport_of(uri)
  if not options.addresses then
    local at, maddr = addr(uri, uri, transport), uri.params.maddr
    local is_named = not uri.ip or maddr ~= nil -- which comes first (RFC 3263 4)
    return is_named and {} or { place(at, 0) }, at .. (maddr and ";maddr=" .. maddr or ""), is_named
  end
  local seen = {}
  for i, text in ipairs(options.addresses) do -- in the order of the list
    local own = addr(core.parse_uri("sip:" .. text), uri, transport)
    if seen[own] then
      misuse("server '%s': addresses: '%s' is there twice", options.name, text)
    end
    seen[own], list[i] = true, place(own, i - 1)
  end
  return list, table.concat(places.addresses(list), ","), false
end

---@param list table[]
---@return string[] addresses
function places.addresses(list)
  local words = {}
  for i, item in ipairs(list) do
    words[i] = item.addr
  end
  return words
end

-- ---- what is known ----

---@param server table
---@param at string
---@return table? place
function places.find(server, at)
  for _, found in ipairs(server.places) do
    if found.addr == at then
      return found
    end
  end
end

---@param found table a place
---@return boolean
function places.is_down(found)
  return found.health == "down" or found.health == "rising"
end

-- What is known of an only place is known of the server.
local function of_server(server, list)
  if #list == 1 then
    list[1].health, list[1].streak = pool_state.health(server), server.facts:get "streak"
  end
end

-- As scripts see it.
---@param server table
---@return tandem.Address[]
function places.show(server)
  local list = {}
  of_server(server, server.places)
  for i, found in ipairs(server.places) do
    local address, transport = found.addr:match "^(.*);transport=(%w+)$"
    list[i] = {
      address = address, transport = transport, health = found.health,
      rank = found.rank, weight = found.weight,
    }
  end
  return list
end

-- Rows of failures (passive.lua) are of addresses that it has; and whether it has any
-- decides its place in the choice (view.lua).
local function replace(server, list)
  server.places, server.pool.seen = list, nil
  for at in pairs(server.rows) do
    if not places.find(server, at) then
      server.rows[at] = nil
    end
  end
end

local function is_same(server, list)
  local count = math.min(#list, most)
  for i = 1, count do
    local was = places.find(server, list[i].addr)
    if not was or was.rank ~= list[i].rank or was.weight ~= list[i].weight then
      return false
    end
  end
  return count == #server.places
end

-- Takes over a new list. Who was there before stays the same place.
---@param server table
---@param list { addr: string, rank: integer, weight: integer, target: string? }[]
---@return { is_other: boolean }? change nil when there is none; is_other: none of them
---  was there before
function places.update(server, list)
  local before, now, kept = server.places, {}, 0
  if is_same(server, list) then
    return nil
  end
  server.untold = true -- first of all: memory may run out below
  of_server(server, before)
  for i = 1, math.min(#list, most) do
    local item = list[i]
    local was = places.find(server, item.addr)
    kept = kept + (was and 1 or 0)
    now[i] = was or place(item.addr)
    now[i].rank, now[i].weight, now[i].target = item.rank, item.weight, item.target
  end
  replace(server, now)
  return { is_other = kept == 0 and #before > 0 }
end

-- ---- telling ----

local function plain(server)
  local list = {}
  for i, found in ipairs(server.places) do
    local item = {}
    for _, field in ipairs(kept_fields) do
      item[field] = found[field]
    end
    list[i] = item
  end
  return list
end

local retry = 1 -- seconds, when memory ran out

-- Tells the core of this worker.
local function apply(server)
  local list, several = {}, #server.places > 1
  for i, found in ipairs(server.places) do
    list[i] = {
      addr = found.addr, rank = found.rank, weight = found.weight,
      down = several and places.is_down(found),
    }
  end
  if not server.facts:place(list) then
    core.after(retry, function()
      apply(server)
    end)
  end
end

local function write(server)
  store():set(server.full, core.json_encode { at = server.at, list = plain(server) })
end

-- Where there is no room for it the next generation begins with what was kept before.
local function keep(server)
  pcall(write, server)
end

-- What worker 0 knows becomes what all know, if it is new: `untold`.
---@param server table
function places.tell(server)
  if not server.untold then
    return
  end
  apply(server)
  local message = core.json_encode { server.full, server.at, plain(server) }
  for worker = 1, core.workers() - 1 do
    core.post(worker, topic, message)
  end
  server.untold = false -- not before all that may fail for want of memory
  keep(server)
end

link.receiver(topic, function(message)
  local server = registry.server(message[1])
  if server and server.at == message[2] then -- else a reload says otherwise by now
    replace(server, message[3])
    apply(server)
  end
end)

local silent_topic = "tandem.silent"

-- Nobody answered at one of its addresses: the next attempt begins at another one, in
-- whatever worker. In this one the core knows.
---@param server table
---@param at string
function places.silent(server, at)
  if core.workers() == 1 then
    return
  end
  local message = core.json_encode { server.full, at }
  for worker = 0, core.workers() - 1 do
    if worker ~= core.worker() then
      core.post(worker, silent_topic, message)
    end
  end
end

link.receiver(silent_topic, function(message)
  local server = registry.server(message[1])
  if server and places.find(server, message[2]) then
    server.facts:silent(message[2])
  end
end)

-- ---- a generation begins ----

local function adopt(list, kept)
  local is_known = false
  for _, found in ipairs(list) do
    for _, was in ipairs(kept) do
      if was.addr == found.addr then
        found.health, found.streak, found.ends = was.health, was.streak, was.ends
        is_known = true
      end
    end
  end
  return is_known
end

-- Takes up what was known before a reload.
---@param server table
---@return boolean moved the server of that name was somewhere else
function places.load(server)
  local text = store():get(server.full)
  if not text then
    return false
  end
  local kept = core.json_decode(text)
  of_server(server, kept.list)
  if not server.is_named then
    return not adopt(server.places, kept.list)
  elseif kept.at ~= server.at then
    return true
  end
  server.places = kept.list
  return false
end

-- Tells the core what was loaded. What the script says it knows, but for the health.
---@param server table
function places.start(server)
  if server.is_named or server.is_found or #server.places > 1 then
    apply(server)
  end
  if core.worker() == 0 then
    keep(server)
    server.untold = false
  end
end

-- Nobody is called like that any more.
---@param full string
function places.erase(full)
  store():set(full, nil)
end

return places
