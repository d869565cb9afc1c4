-- sip.log: lines of the script in the log, event=script.
local core = require "tandem.core"
local misuse = require "tandem.config.misuse"
local ipairs, pairs, table = ipairs, pairs, table
local tostring, type = tostring, type

local _ENV = nil

local log = {}

local plain = { string = true, number = true, boolean = true }

local function write(level, message, fields)
  if type(message) ~= "string" then
    misuse("sip.log.%s: a string expected, got %s", level, type(message))
  elseif fields ~= nil and type(fields) ~= "table" then
    misuse("sip.log.%s: fields: a table expected, got %s", level, type(fields))
  end
  local names, list = {}, { { "message", message } }
  for name in pairs(fields or {}) do
    names[#names + 1] = tostring(name)
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = fields[name]
    list[#list + 1] = { name, plain[type(value)] and value or tostring(value) }
  end
  core.event(level, "script", list)
end

for _, level in ipairs { "debug", "info", "warn", "error" } do
  log[level] = function(message, fields)
    write(level, message, fields)
  end
end

return log
