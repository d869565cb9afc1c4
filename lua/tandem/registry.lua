-- The pools of the script by name, and their servers by "pool/server". Plain
-- states, as pool.lua and server.lua make them.
local ipairs = ipairs

local _ENV = nil

local registry = { pools = {} }

local pools, servers, by_facts = {}, {}, {}

-- A server joins its pool.
function registry.join(server)
  servers[server.full] = server
  by_facts[server.facts] = server
end

function registry.leave(server)
  servers[server.full] = nil
  by_facts[server.facts] = nil
end

function registry.add(pool)
  registry.pools[#registry.pools + 1] = pool
  pools[pool.name] = pool
  for _, server in ipairs(pool.servers) do
    registry.join(server)
  end
end

---@param name string
---@return table? pool
function registry.pool(name)
  return pools[name]
end

---@param full string "pool/server"
---@return table? server
function registry.server(full)
  return servers[full]
end

-- The server that these facts belong to.
---@param facts? table
---@return table? server
function registry.of(facts)
  return facts and by_facts[facts]
end

return registry
