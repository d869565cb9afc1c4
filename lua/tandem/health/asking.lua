-- failback = function(pool, server): asked in worker 0 when a server would come back,
-- and then every second until it says yes or nobody waits any more. When it raises,
-- that is counted as an error of the script and no answer.
local core = require "tandem.core"
local holds = require "tandem.health.holds"
local pool_state = require "tandem.health.state"
local watch = require "tandem.health.watch"

local _ENV = nil

local asking = {}

local interval = 1

---@param server table
function asking.stop(server)
  if server.asking then
    server.asking:cancel()
    server.asking = nil
  end
end

local function ask(server)
  local pool = server.pool
  if not pool_state.is_endless(server) then
    asking.stop(server)
  elseif core.steady("failback", pool.failback.ask, pool.handle, server.handle) then
    asking.stop(server)
    local now = core.now()
    holds.release(server, "failback", now)
    watch.update(pool, "failback", now)
  end
end

-- Begins to ask, if there is somebody to ask and something to ask for.
---@param server table
function asking.start(server)
  if not server.pool.failback.ask or server.asking or not pool_state.is_endless(server) then
    return
  end
  server.asking = core.every(interval, function()
    ask(server)
  end)
  core.spawn(function()
    ask(server)
  end)
end

return asking
