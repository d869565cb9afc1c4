-- What is remembered of a server beside its facts: who did what and why, holds by
-- reason, recent falls. Written by worker 0, readable by all, kept across reloads
-- in a shared table of our own.
local core = require "tandem.core"
local ipairs = ipairs

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

local waiting -- servers to save at the end of the start; nil when it is over

---@param server table with its record
function record.save(server)
  if waiting then
    waiting[#waiting + 1] = server
    return
  end
  store():set(server.full, core.json_encode(server.record))
end

-- Nothing is saved between these two: a start that fails must leave what the
-- generation before has kept.
function record.begin()
  waiting = {}
end

function record.commit()
  local list = waiting
  waiting = nil
  for _, server in ipairs(list) do
    record.save(server)
  end
end

-- The server is another one now under the same name. What was ordered is about the
-- name, and stays.
---@param server table
function record.forget(server)
  local kept = server.record
  kept.holds, kept.falls, kept.health = {}, {}, {}
end

-- Nobody is called like that any more.
---@param full string
function record.erase(full)
  store():set(full, nil)
end

return record
