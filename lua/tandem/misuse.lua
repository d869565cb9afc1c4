-- Raises an error that names the line of the script that is to be changed.
local core = require "tandem.core"
local error, setmetatable = error, setmetatable

local _ENV = nil

local function text(failure)
  return failure.where and failure.where .. ": " .. failure.message or failure.message
end

local meta = { __tostring = text }

-- While loading the error is a table { where, message }, which the loader shows
-- as "route.lua:14: message"; later it is that text.
---@param format string
---@param ... any
return function(format, ...)
  local failure = { where = core.where(), message = format:format(...) }
  error(core.phase() == "load" and setmetatable(failure, meta) or text(failure), 0)
end
