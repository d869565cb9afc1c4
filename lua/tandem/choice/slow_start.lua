-- How much a server takes that came back: from a tenth of what it would get to all
-- of it, over slow_start seconds from the return or from the end of the failback
-- hold. Which requests these are the key says, so they do not change their minds.
local core = require "tandem.core"
local math = math

local _ENV = nil

local slow_start = {}

local least = 0.1

-- When it began and ends; nil when the pool has none, or the server did not return.
---@param server table
---@return number? began
---@return number? ends
local function span(server)
  local length = server.pool.slow_start
  if not length then
    return nil
  end
  local returned, failback = server.facts:get("returned", "failback_until")
  if returned == 0 then
    return nil
  end
  local began = core.seconds(math.max(returned, failback))
  return began, began + length
end

-- The end, if it is still to come.
---@return number?
function slow_start.ends(server, now)
  local _, ends = span(server)
  return ends and ends > now and ends or nil
end

-- What it takes of what it would get: 0.1 to 1.
---@return number
function slow_start.share(server, now)
  local began, ends = span(server)
  if not began or now >= ends then
    return 1
  end
  return least + (1 - least) * math.max(now - began, 0) / (ends - began)
end

-- Does it take the requests of this key already?
---@return boolean
function slow_start.admits(server, key, now)
  local share = slow_start.share(server, now)
  return share >= 1
    or (core.hash("slow start", server.full, key) >> 11) * 0x1p-53 < share
end

return slow_start
