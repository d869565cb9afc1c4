-- Who can take one more call: max_calls, max_cps, and named resources. Only initial
-- INVITEs are limited. What is counted is counted by the core, for all workers; as
-- each looks before it counts, N of them may exceed a limit by N - 1.
local misuse = require "tandem.config.misuse"
local suggest = require "tandem.config.suggest"
local ipairs, pairs, table = ipairs, pairs, table

local _ENV = nil

local limits = {}

local function names_of(resources)
  local names = {}
  for name in pairs(resources) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

limits.names = names_of

-- The resources that the servers of a pool have.
---@param servers table[]
---@return table<string, true>
function limits.known(servers)
  local known = {}
  for _, server in ipairs(servers) do
    for name in pairs(server.resources) do
      known[name] = true
    end
  end
  return known
end

-- Has a server of these a limit that counts for every call?
---@param servers table[]
---@return boolean
function limits.any(servers)
  for _, server in ipairs(servers) do
    if server.max_calls or server.max_cps then
      return true
    end
  end
  return false
end

local function listed(pool, resources)
  local list = {}
  for i, name in ipairs(names_of(resources)) do
    if not pool.resources[name] then
      misuse("no server of pool '%s' has a resource '%s'%s", pool.name, name,
        suggest.hint(name, names_of(pool.resources)))
    end
    list[i] = { name = name, units = resources[name] }
  end
  return list
end

-- What a request is to be limited by: the resources it takes, maybe none; nil when
-- it is not limited.
---@param pool table
---@param req? tandem.Request
---@param resources? table<string, integer>
---@return { name: string, units: integer }[]?
function limits.of(pool, req, resources)
  local list = resources and listed(pool, resources)
  if not (list or pool.limited) or not req or req.method ~= "INVITE"
    or req.kind == "in_dialog" or req.kind == "shared_dialog" then
    return nil
  end
  return list or {}
end

-- Why a server cannot take the call; nil when it can.
---@param server table
---@param resources { name: string, units: integer }[]
---@return "full"|"lacks"|nil
---@return string? which which limit it is
function limits.refusal(server, resources)
  local facts = server.facts
  for i = 1, #resources do
    local need = resources[i]
    local capacity = server.resources[need.name]
    if not capacity then
      return "lacks", need.name
    elseif facts:used(need.name) + need.units > capacity then
      return "full", need.name
    end
  end
  if server.max_calls then
    local calls, setup = facts:get("calls", "setup")
    if calls + setup >= server.max_calls then
      return "full", "max_calls"
    end
  end
  if server.max_cps and facts:rate() >= server.max_cps then
    return "full", "max_cps"
  end
end

return limits
