-- The pools and their servers, as they are now.
local find = require "tandem.control.find"
local ipairs = ipairs

local _ENV = nil

local function all_servers()
  local pools, why = find.pools()
  if not pools then
    return nil, why
  end
  local list = {}
  for _, pool in ipairs(pools) do
    for _, server in ipairs(pool.servers) do
      list[#list + 1] = server
    end
  end
  return list
end

return function(route, api)
  route("GET", "/v1/pools", "read", function()
    local pools, why = find.pools()
    return pools and api.list(pools), why
  end)
  route("GET", "/v1/pools/{pool}", "read", function(_, params)
    return find.pool(params.pool)
  end)
  route("GET", "/v1/servers", "read", function()
    local servers, why = all_servers()
    return servers and api.list(servers), why
  end)
  route("GET", "/v1/pools/{pool}/servers", "read", function(_, params)
    local pool, why = find.pool(params.pool)
    return pool and api.list(pool.servers), why
  end)
  route("GET", "/v1/pools/{pool}/servers/{server}", "read", function(_, params)
    return find.server(params.pool, params.server)
  end)
end
