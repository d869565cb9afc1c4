-- Sets of networks: what sip.netset gives, and what options take for one.
local core = require "tandem.core"
local frozen = require "tandem.config.frozen"
local misuse = require "tandem.config.misuse"
local object = require "tandem.object"
local schema = require "tandem.config.schema"
local table, type = table, type

local _ENV = nil

local netset = {}

local methods = {}
local class = object.class("netset", methods, {
  networks = function(state)
    return frozen(state.networks)
  end,
})
netset.class = class

-- Is this address in one of the networks?
---@param ip string
---@return boolean
function methods.has(state, ip)
  state.nets = state.nets or core.nets(state.networks)
  local text = type(ip) == "string"
  local found = nil
  if text then
    found = core.nets_has(state.nets, ip)
  end
  if found == nil then
    misuse("netset:has: an IP address expected, got %s", text and "'" .. ip .. "'" or type(ip))
  end
  return found
end

local network = schema.custom(function(value)
  if type(value) ~= "string" then
    return false, ("a network such as '10.0.0.0/8' expected, got %s"):format(type(value))
  end
  local ok, why = core.net(value)
  if not ok then
    return false, ("'%s' is no network: %s"):format(value, why)
  end
  return true, value
end)

local list = schema.list(network)

-- Makes a set of a checked list; `full` is its name for tostring.
function netset.new(networks, full)
  return class.new { networks = networks, full = full or table.concat(networks, " ") }
end

-- A type for a list of networks.
netset.list = list

-- A type for options: a set or a list; gives the list.
netset.type = schema.custom(function(value)
  local state = class.state(value)
  if state then
    return true, state.networks
  end
  return list.check(value, "")
end)

return netset
