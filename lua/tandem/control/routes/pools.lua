-- The pools and their servers, as they are now.
local host = require "tandem.control.host"
local ipairs = ipairs

local _ENV = nil

local function named(list, name)
  for _, item in ipairs(list) do
    if item.name == name then
      return item
    end
  end
end

local function pool_of(params)
  local pools, why = host.ask "pools"
  if not pools then
    return nil, why
  end
  local pool = named(pools, params.pool)
  if not pool then
    return nil, { status = 404, error = ("there is no pool '%s'"):format(params.pool) }
  end
  return pool
end

local function server_of(_, params)
  local pool, problem = pool_of(params)
  if not pool then
    return nil, problem
  end
  local server = named(pool.servers, params.server)
  if not server then
    return nil, {
      status = 404,
      error = ("pool '%s' has no server '%s'"):format(params.pool, params.server),
    }
  end
  return server
end

return function(route, api)
  route("GET", "/v1/pools", "read", function()
    local pools, why = host.ask "pools"
    return pools and api.list(pools), why
  end)
  route("GET", "/v1/pools/{pool}", "read", function(_, params)
    return pool_of(params)
  end)
  route("GET", "/v1/pools/{pool}/servers/{server}", "read", server_of)
end
