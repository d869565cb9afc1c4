-- Pools and servers by the names that somebody typed: for the routes of the control API.
-- What is not found is said with what was probably meant.
local host = require "tandem.control.host"
local status_since = require "tandem.control.status_since"
local suggest = require "tandem.config.suggest"
local ipairs, math, table = ipairs, math, table

local _ENV = nil

local find = {}

local shown = 8 -- names that a message lists

-- Adds what only makes sense to who is outside: whose it is, and since when it is so.
local function complete(pool, time)
  for _, server in ipairs(pool.servers) do
    local since = status_since(server, time)
    server.pool = pool.name
    server.since = nil -- by a clock that nobody outside has
    server.status_when = since
    server.status_for = since and math.max(time - since, 0)
  end
end

-- All pools, as they were declared.
---@return table[]?
---@return string? why
function find.pools()
  local pools, why = host.ask "pools"
  if not pools then
    return nil, why
  end
  local time = host.info().now
  for _, pool in ipairs(pools) do
    complete(pool, time)
  end
  return pools
end

-- The one of that name; or nil and the names there are.
---@param list table[]
---@param name string
---@return table?
---@return string[]? names
function find.named(list, name)
  local names = {}
  for i, item in ipairs(list) do
    if item.name == name then
      return item
    end
    names[i] = item.name
  end
  return nil, names
end

local function hint(name, names, prefix)
  local text = #name > 1 and suggest.hint(name, names, prefix) or ""
  if text ~= "" or #names == 0 then
    return text
  end
  local more = #names > shown and ", ..." or ""
  return ("; there is %s%s"):format(table.concat(names, ", ", 1, math.min(#names, shown)), more)
end

---@param name string
---@return table?
---@return table|string|nil problem for the answer
function find.pool(name)
  local pools, why = find.pools()
  if not pools then
    return nil, why
  end
  local pool, names = find.named(pools, name)
  if not pool then
    return nil, {
      status = 404, error = ("there is no pool '%s'%s"):format(name, hint(name, names)),
    }
  end
  return pool
end

---@param pool_name string
---@param name string
---@return table?
---@return table|string|nil problem
function find.server(pool_name, name)
  local pool, problem = find.pool(pool_name)
  if not pool then
    return nil, problem
  end
  local server, names = find.named(pool.servers, name)
  if not server then
    return nil, {
      status = 404,
      error = ("pool '%s' has no server '%s'%s"):format(pool_name, name,
        hint(name, names, pool_name .. "/")),
    }
  end
  return server
end

return find
