-- sip.request { method =, uri =, ... }: a request of our own.
local core = require "tandem.core"
local declare = require "tandem.declare"
local options = require "tandem.options"

local _ENV = nil

---@param opts tandem.OwnRequest
---@return tandem.Response?
---@return "timeout"|"transport"|nil
---@return tandem.Detail?
return function(opts)
  return core.request(declare.check("sip.request", options.request, opts))
end
