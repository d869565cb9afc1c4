-- Raises an error that names the line of the script that is to be changed.
local core = require "tandem.core"
local error = error

local _ENV = nil

-- While loading the error is a table { where, message }, which the loader shows
-- as "route.lua:14: message"; later it is that text.
---@param format string
---@param ... any
return function(format, ...)
  local where, message = core.where(), format:format(...)
  if core.phase() == "load" then
    error({ where = where, message = message }, 0)
  end
  error(where and where .. ": " .. message or message, 0)
end
