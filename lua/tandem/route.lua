-- sip.route([method or kind,] fn): who decides about which requests.
local core = require "tandem.core"
local declare = require "tandem.config.declare"
local misuse = require "tandem.config.misuse"
local suggest = require "tandem.config.suggest"
local type, tostring = type, tostring

local _ENV = nil

local kinds = { ["*in_dialog"] = "in_dialog", ["*from_server"] = "from_server" }
local words = { "*in_dialog", "*from_server" }

-- The core handles these itself.
local never = { ACK = true, CANCEL = true }

local function check_method(method)
  if type(method) ~= "string" or not method:find "^[%w%-.!%%*_+`'~]+$" then
    misuse("sip.route: a method or a kind such as '*in_dialog' expected, got %s",
      type(method) == "string" and "'" .. method .. "'" or type(method))
  elseif method:sub(1, 1) == "*" then
    misuse("sip.route: there is no kind '%s'%s", method, suggest.hint(method, words))
  elseif never[method:upper()] then
    misuse("sip.route: %s never reaches a script", method:upper())
  elseif method ~= method:upper() then
    misuse("sip.route: methods are written in capitals; did you mean '%s'?", method:upper())
  end
end

---@param which string|fun(req: tandem.Request)
---@param fn? fun(req: tandem.Request)
return function(which, fn)
  declare.loading "sip.route"
  if fn == nil and type(which) == "function" then
    which, fn = nil, which
  elseif type(fn) ~= "function" then
    misuse("sip.route: a function expected, got %s", type(fn))
  end
  local kind = kinds[which]
  if which ~= nil and not kind then
    check_method(which)
  end
  local name = which and ("the route '%s'"):format(tostring(which)) or "the route of all requests"
  declare.once(name)
  declare.keep("routes", which or "*")
  core.handler(kind or "initial", not kind and which or nil, fn)
end
