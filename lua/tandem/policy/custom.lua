-- A policy that is a function of the script: (req, servers) -> a server, a list of
-- servers, or nil for none of these.
local core = require "tandem.core"
local misuse = require "tandem.config.misuse"
local class = require("tandem.server").class
local ipairs, type = ipairs, type

local _ENV = nil

local custom = {}

-- The returned servers, each once; nothing but what was offered.
local function checked(result, offered, pool)
  local list = {}
  for i, handle in ipairs(result) do
    local server = class.state(handle)
    if not server or offered[server] == nil then
      misuse("pool '%s': the policy returned something that is none of its servers (item %d)",
        pool, i)
    elseif offered[server] then
      offered[server] = false
      list[#list + 1] = server
    end
  end
  return list
end

-- `strict`: it is offered nothing but who can take this very request, in a list that
-- it may do with what it wants.
---@param fn tandem.PolicyFunction
---@param pool string its name
---@return tandem.Policy
function custom.new(fn, pool)
  return {
    strict = true,
    choose = function(_, servers, call)
      local handles, offered = {}, {}
      for i, server in ipairs(servers) do
        handles[i], offered[server] = server.handle, true
      end
      local result = core.steady("policy", fn, call.req, handles)
      if result == nil then
        return nil
      elseif type(result) ~= "table" or class.state(result) then
        result = { result }
      end
      return checked(result, offered, pool)
    end,
  }
end

return custom
