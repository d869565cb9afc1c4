-- A policy that is a function of the script: (req, servers) -> a server, a list of
-- servers, or nil for none of this tier.
local core = require "tandem.core"
local misuse = require "tandem.misuse"
local class = require("tandem.server").class
local ipairs, type = ipairs, type

local _ENV = nil

local custom = {}

-- The returned servers, each once; nothing but what was offered.
local function checked(result, offered, pool)
  local list = {}
  for i, server in ipairs(result) do
    if offered[server] == nil then
      misuse("pool '%s': the policy returned something that is none of its servers (item %d)",
        pool, i)
    elseif offered[server] then
      offered[server] = false
      list[#list + 1] = server
    end
  end
  return list
end

-- `picky`: is asked even when there is only one server, as it may say none.
---@param fn fun(req: tandem.Request, servers: tandem.Server[]): tandem.Server|tandem.Server[]|nil
---@param pool string its name
---@return tandem.Policy
function custom.new(fn, pool)
  return {
    picky = true,
    order = function(_, servers, _, _, req)
      local offered = {}
      for _, server in ipairs(servers) do
        offered[server] = true
      end
      local result = core.steady("policy", fn, req, servers)
      if result == nil then
        return {}
      elseif type(result) ~= "table" or class.state(result) then
        result = { result }
      end
      return checked(result, offered, pool)
    end,
  }
end

return custom
