-- Pools and servers by the names that somebody typed: for the routes of the control API.
-- What is not found is said with what was probably meant.
local host = require "tandem.control.host"
local suggest = require "tandem.config.suggest"
local ipairs, math, table = ipairs, math, table

local _ENV = nil

local find = {}

local shown = 8 -- names that a message lists

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

-- The answers when it is none of those there are.
local function no_pool(name, answer)
  return { status = 404, error = ("there is no pool '%s'%s"):format(name,
    hint(name, answer.no_pool)) }
end

local function no_server(pool, name, answer)
  return { status = 404, error = ("pool '%s' has no server '%s'%s"):format(pool, name,
    hint(name, answer.no_server, pool .. "/")) }
end

-- Pools with all of their servers, asked for piece by piece: no message waits for a
-- thousand servers. A reload in between may leave servers out.
---@param pool? string only this one
---@return table[]?
---@return string|table|nil problem
local function collect(pool)
  local list, from = nil, 1
  repeat
    local answer, why = host.ask("pools", { from = from, pool = pool })
    if not answer then
      return nil, why
    elseif answer.no_pool then
      return nil, no_pool(pool, answer)
    end
    if not list then
      list = answer.pools
    else
      for i, part in ipairs(answer.pools) do
        local mine = list[i] and list[i].name == part.name and list[i].servers or {}
        table.move(part.servers, 1, #part.servers, #mine + 1, mine)
      end
    end
    from = answer.next
  until not from
  return list
end

-- All pools, as they were declared.
---@return table[]?
---@return string? why
function find.pools()
  return collect()
end

---@param name string
---@return table?
---@return table|string|nil problem for the answer
function find.pool(name)
  local list, problem = collect(name)
  return list and list[1], problem
end

---@param pool string
---@param name string
---@return table? with its history
---@return table|string|nil problem
function find.server(pool, name)
  local answer, why = host.ask("pools", { pool = pool, server = name })
  if not answer then
    return nil, why
  elseif answer.no_pool then
    return nil, no_pool(pool, answer)
  elseif answer.no_server then
    return nil, no_server(pool, name, answer)
  end
  return answer.server
end

return find
