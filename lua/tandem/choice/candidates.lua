-- What req:relay goes through: the servers of a pool as select.lua finds them, or
-- one target, or a list of targets in the given order.
local misuse = require "tandem.config.misuse"
local pool_class = require("tandem.pool").class
local select = require "tandem.choice.select"
local try = require "tandem.verbs.try"
local ipairs, setmetatable = ipairs, setmetatable

local _ENV = nil

local in_pool, in_list = {}, {}
in_pool.__index, in_list.__index = in_pool, in_list

-- Is there another?
function in_pool:peek(now)
  return select.peek(self.cursor, now) ~= nil
end

-- The next one: what it means to the core, and the server if it is one.
function in_pool:take(now)
  local server = select.next(self.cursor, now)
  if server then
    return server.target, server
  end
end

-- Is the one that was taken a server which should not take anything?
function in_pool:is_last_resort()
  return self.cursor.last_resort
end

-- Why is there none?
function in_pool:give_up(now)
  return select.give_up(self.cursor, now)
end

function in_list:peek()
  return self.items[self.at] ~= nil
end

function in_list:take()
  local item = self.items[self.at]
  self.at = self.at + 1
  if item then
    return item[1], item[2]
  end
end

function in_list.is_last_resort()
  return false
end

function in_list.give_up()
  return "empty"
end

local function is_list(target)
  return try.is_plain(target) and target.uri == nil
end

---@param target tandem.Pool|tandem.Server|tandem.Contact|string|table
---@param req tandem.Request
---@param opts tandem.RelayOptions
---@return table walk
---@return table? pool
return function(target, req, opts)
  local pool = pool_class.state(target)
  if pool then
    local cursor = select.cursor(pool, opts.key or req.call_id, req, opts.resources)
    return setmetatable({ cursor = cursor }, in_pool), pool
  elseif target == nil then
    misuse "req:relay: a pool, a server, a SIP URI or a list of these expected, got nil"
  end
  local items = {}
  for i, item in ipairs(is_list(target) and target or { target }) do
    items[i] = { try.target("req:relay", item) }
  end
  return setmetatable({ items = items, at = 1 }, in_list)
end
