-- What keeps new requests from a server that would be up, in worker 0: holds, each
-- with a reason and an end, and the failback hold of a server that has come back,
-- which may have none: then somebody has to release it.
local core = require "tandem.core"
local failback = require "tandem.health.failback"
local pool_state = require "tandem.health.state"
local record = require "tandem.health.record"
local report = require "tandem.health.report"
local ipairs, math, pairs, table = ipairs, math, pairs, table

local _ENV = nil

local holds = {}

-- ---- holds with a reason ----

-- The reasons of holds that have ended, in order.
local function ended(server, now)
  local list = {}
  for why, finish in pairs(server.record.holds) do
    if finish <= now then
      list[#list + 1] = why
    end
  end
  table.sort(list)
  return list
end

-- The latest end of all counts.
local function write(server)
  local latest = 0
  for _, finish in pairs(server.record.holds) do
    latest = math.max(latest, finish)
  end
  server.facts:set("hold_until", latest > 0 and core.us(latest) or 0)
  server.pool.watched = nil -- that of one reason may end earlier: watch.lua has to look
  record.save(server)
end

-- Of one reason the latest end counts too; 0 seconds end it.
---@return boolean is_new
function holds.set(server, reason, seconds, now)
  local all = server.record.holds
  local before = all[reason]
  local finish = core.seconds(core.us(now + seconds)) -- as exact as the fact and the timer
  all[reason] = seconds > 0 and math.max(before or 0, finish) or nil
  write(server)
  return not before
end

-- The same, and tells of it.
---@param server table
---@param reason string
---@param seconds number
---@param who string
---@param now number
function holds.put(server, reason, seconds, who, now)
  local is_new = holds.set(server, reason, seconds, now)
  report.hold(server, { why = reason, who = who, seconds = seconds }, is_new)
end

-- ---- the failback hold ----

-- The hold that a server earns which has fallen this often lately.
---@param server table
---@param hold number
---@param now number
---@return number seconds
function holds.earned(server, hold, now)
  local conf = server.pool.failback
  local falls = failback.recent(server.record.falls, conf.hold_max, now)
  server.facts:set("falls", #falls)
  return failback.duration(#falls, hold, math.max(conf.hold_max, hold))
end

-- Who takes new requests, this one aside. When that is nobody, but another hold keeps
-- this one away as well: who may do so until that ends.
local function serving_beside(server, now)
  local serving = pool_state.find(server.pool, function(other)
    return other ~= server and pool_state.status(other, now) == "up"
  end, now)
  if serving or pool_state.held_until(server) <= now then
    return serving
  end
  return (pool_state.find(server.pool, function(other)
    return other ~= server and failback.takes_from(server, other)
  end, now))
end

-- A server has come back. Gives for how long it is held back: seconds, nil for not at
-- all, or the word for whom it waits for.
---@param server table
---@param now number
---@return number|"manual"|"disabled"|"asked"|nil
function holds.back(server, now)
  local facts, serving = server.facts, serving_beside(server, now)
  local seconds = holds.earned(server, server.pool.failback.hold, now)
  facts:set("returned", core.us(now))
  if not serving then -- nobody to keep the calls
    facts:set("failback_until", 0)
    return nil
  end
  local word = failback.waits_for(server, serving)
  server.is_held_back = word ~= nil or seconds > 0
  facts:set("failback_until", word and pool_state.endless
    or (seconds > 0 and core.us(now + seconds)) or 0)
  return word or (seconds > 0 and seconds) or nil
end

-- Forgets the failback hold and tells nobody: the server fell, or an order says so.
---@param server table
function holds.forget_back(server)
  server.is_held_back = false
  server.facts:set("failback_until", 0)
end

-- Ends the failback hold before its time.
---@param server table
---@param who string
---@param now number
---@return boolean whether there was one
function holds.release(server, who, now)
  local _, until_time = pool_state.held_until(server)
  if until_time <= now then
    return false
  end
  server.is_held_back = false
  server.facts:set("failback_until", core.us(now)) -- the end, for who counts from there
  report.hold(server, { why = "failback", who = who, seconds = 0 }, false)
  return true
end

-- When the next of its holds ends; nil when none will by itself.
---@param server table
---@param now number
---@return number?
function holds.next_end(server, now)
  local least
  for _, finish in pairs(server.record.holds) do
    least = math.min(finish, least or finish)
  end
  local _, until_time = pool_state.held_until(server)
  if until_time > now and not pool_state.is_endless(server) then
    least = math.min(until_time, least or until_time)
  end
  return least
end

-- Tells of the holds of a pool that time has ended.
---@param pool table
---@param now number
function holds.expire(pool, now)
  for _, server in ipairs(pool.servers) do
    local list = ended(server, now)
    for _, why in ipairs(list) do
      server.record.holds[why] = nil
    end
    if #list > 0 then
      write(server)
    end
    for _, why in ipairs(list) do
      report.hold(server, { why = why, who = "timer", seconds = 0 }, false)
    end
    local _, until_time = pool_state.held_until(server)
    if server.is_held_back and until_time <= now then
      server.is_held_back = false
      report.hold(server, { why = "failback", who = "timer", seconds = 0 }, false)
    end
  end
end

-- Takes up the holds from before a reload, silently those that ended meanwhile.
---@param server table
---@param now number
function holds.start(server, now)
  for _, why in ipairs(ended(server, now)) do
    server.record.holds[why] = nil
  end
  write(server)
  local _, until_time = pool_state.held_until(server)
  if pool_state.is_endless(server) and not failback.is_endless(server.pool.failback) then
    server.facts:set("failback_until", core.us(now)) -- the script wants it otherwise now
    until_time = now
  end
  server.is_held_back = until_time > now
end

return holds
