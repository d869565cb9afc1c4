-- What the process is and whether it is well.
local host = require "tandem.control.host"
local ipairs = ipairs

local _ENV = nil

local function count(pools)
  local servers, usable, calls = 0, 0, 0
  for _, pool in ipairs(pools) do
    for _, server in ipairs(pool.servers) do
      servers = servers + 1
      usable = usable + (server.status == "up" and 1 or 0)
      calls = calls + server.calls
    end
  end
  return { pools = #pools, servers = servers, usable = usable, calls = calls }
end

local function status()
  local pools, why = host.ask "pools"
  if not pools then
    return nil, why
  end
  local info = host.info()
  info.uptime = info.now - info.started
  info.count = count(pools)
  return info
end

return function(route, api)
  route("GET", "/v1/status", "read", status)

  -- The process is there and answers.
  route("GET", "/healthz", "read", function()
    return api.text("text/plain", "ok\n")
  end)
end
