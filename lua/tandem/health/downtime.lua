-- For how long a server was down, in all: its checks or the calls said so.
local core = require "tandem.core"
local pool_state = require "tandem.health.state"

local _ENV = nil

local downtime = {}

-- Seconds since the last change of its health, if it has been down since then.
---@param server table
---@param now number
---@return number
function downtime.running(server, now)
  local health, since = pool_state.health(server), server.facts:get "since"
  if since == 0 or (health ~= "down" and health ~= "rising") then
    return 0
  end
  return now - core.seconds(since)
end

-- It begins with what the process before knew: what was then is not counted now.
---@param server table
---@param now number
function downtime.begin(server, now)
  server.facts:count("down", -core.us(downtime.running(server, now)))
end

-- Its health is about to be another one.
---@param server table
---@param now number
function downtime.note(server, now)
  local seconds = downtime.running(server, now)
  if seconds > 0 then
    server.facts:count("down", core.us(seconds))
  end
end

return downtime
