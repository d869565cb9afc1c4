-- Raises an error that names the line of the script that is to be changed.
local core = require "tandem.core"
local error = error

local _ENV = nil

---@param format string
---@param ... any
return function(format, ...)
  local where, message = core.where(), format:format(...)
  error(where and where .. ": " .. message or message, 0)
end
