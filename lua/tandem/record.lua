-- What is remembered of a server beside its facts: who did what and why, holds by
-- reason, recent falls. Written by worker 0, readable by all, kept across reloads
-- in a shared table of our own.
local core = require "tandem.core"

local _ENV = nil

local record = {}

local function store()
  return core.shared "tandem.server"
end

---@param server table
---@return { holds: table<string, number>, falls: number[], admin: table, health: table }
---@return boolean is_new nobody has kept anything yet
function record.load(server)
  local text = store():get(server.full)
  local found = text and core.json_decode(text) or {}
  found.holds = found.holds or {}
  found.falls = found.falls or {}
  found.admin = found.admin or {}
  found.health = found.health or {}
  return found, text == nil
end

---@param server table with its record
function record.save(server)
  store():set(server.full, core.json_encode(server.record))
end

return record
