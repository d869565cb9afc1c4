-- sip.request { method =, uri =, ... }: a request of our own; and
-- res:request(method[, opts]): the next one in the dialog that such an INVITE made.
local core = require "tandem.core"
local declare = require "tandem.declare"
local options = require "tandem.options"

local _ENV = nil

local request = {}

---@param opts tandem.OwnRequest
---@return tandem.Response?
---@return "timeout"|"transport"|nil
---@return tandem.Detail?
function request.new(opts)
  return core.request(declare.check("sip.request", options.request, opts))
end

---@param res tandem.Response a 2xx to an INVITE of our own
---@param method string "BYE"
---@param opts? tandem.InDialogRequest
---@return tandem.Response?
---@return "timeout"|"transport"|nil
---@return tandem.Detail?
function request.in_dialog(res, method, opts)
  declare.check("res:request: method", options.method, method)
  local item = declare.check("res:request", options.in_dialog, opts or {})
  return core.request {
    method = method, dialog = res,
    headers = item.headers, body = item.body, timeout = item.timeout,
  }
end

return request
