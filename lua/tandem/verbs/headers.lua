-- Header fields that a script adds to a message of its own making, as a table
-- { Name = "value" } or { Name = { "first", "second" } }.
local schema = require "tandem.config.schema"
local ipairs, pairs, table, type = ipairs, pairs, table, type

local _ENV = nil

local headers = {}

-- The core writes these itself.
local reserved = {
  ["via"] = true, ["v"] = true, ["from"] = true, ["f"] = true, ["to"] = true, ["t"] = true,
  ["call-id"] = true, ["i"] = true, ["cseq"] = true, ["content-length"] = true, ["l"] = true,
  ["max-forwards"] = true,
}

local function wrong_name(name)
  if type(name) ~= "string" or not name:find "^[%w%-.!%%*_+`'~]+$" then
    return ("'%s' is no header name"):format(name)
  elseif reserved[name:lower()] then
    return ("the core writes %s itself"):format(name)
  end
end

local function wrong_value(name, value)
  if type(value) ~= "string" then
    return ("%s: a string expected, got %s"):format(name, type(value))
  elseif value:find "[\r\n\0]" then
    return ("%s: a value cannot contain CR, LF or NUL"):format(name)
  end
end

local function add(list, name, value)
  local wrong = wrong_value(name, value)
  if not wrong then
    list[#list + 1] = { name, value }
  end
  return wrong
end

-- The list { {name, value}... } the core wants, sorted by name; or nil and why.
---@param given table<string, string|string[]>
---@return { [1]: string, [2]: string }[]? list
---@return string? why
function headers.list(given)
  local names, list = {}, {}
  for name in pairs(given) do
    local wrong = wrong_name(name)
    if wrong then
      return nil, wrong
    end
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local values = given[name]
    for _, value in ipairs(type(values) == "table" and values or { values }) do
      local wrong = add(list, name, value)
      if wrong then
        return nil, wrong
      end
    end
  end
  return list
end

-- A type for options: gives the list.
headers.type = schema.custom(function(given)
  if type(given) ~= "table" then
    return false, ("a table { Name = \"value\" } expected, got %s"):format(type(given))
  end
  local list, why = headers.list(given)
  if not list then
    return false, why
  end
  return true, list
end)

-- Is there a header of this name in a list?
---@return boolean
function headers.has(list, name)
  for _, header in ipairs(list or {}) do
    if header[1]:lower() == name:lower() then
      return true
    end
  end
  return false
end

return headers
