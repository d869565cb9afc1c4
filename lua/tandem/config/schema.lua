-- What options may look like. A type is a table with check(value, path), which
-- gives true and the value to use (defaults filled in, a copy), or false and a
-- message that names the option. Pure: who calls knows the line of the script.
local suggest = require "tandem.config.suggest"
local ipairs, math, pairs, table = ipairs, math, pairs, table
local tostring, type = tostring, type

local _ENV = nil

local schema = {}

local max_seconds = 1000000000 -- 30 years

local function at(path, text)
  return path == "" and text or path .. ": " .. text
end

local function join(path, name)
  if type(name) == "number" then
    return ("%s[%d]"):format(path, name)
  end
  return path == "" and tostring(name) or path .. "." .. tostring(name)
end

local function expected(path, what, value)
  return false, at(path, ("%s expected, got %s"):format(what, type(value)))
end

local by_type = { table = "a table", ["function"] = "a function", userdata = "an object" }

local function show(value)
  return type(value) == "string" and ("'%s'"):format(value) or by_type[type(value)]
    or tostring(value)
end

-- A type made of a function(value) -> true, result | false, "what is wrong".
function schema.custom(judge)
  return {
    check = function(value, path)
      local ok, result = judge(value)
      if not ok then
        return false, at(path, result)
      end
      return true, result
    end,
  }
end

local function range(value, limits)
  if limits.min and value < limits.min then
    return ("at least %s expected, got %s"):format(limits.min, value)
  elseif limits.above and value <= limits.above then
    return ("more than %s expected, got %s"):format(limits.above, value)
  elseif limits.max and value > limits.max then
    return ("at most %s expected, got %s"):format(limits.max, value)
  end
end

local function numeric(what, limits)
  limits = limits or {}
  return {
    check = function(value, path)
      if type(value) ~= "number" then
        return expected(path, what, value)
      elseif value ~= value or value == math.huge or value == -math.huge then
        return false, at(path, ("%s expected, got %s"):format(what, value))
      end
      local wrong = range(value, limits)
      if wrong then
        return false, at(path, wrong)
      end
      return true, value
    end,
  }
end

---@param limits? { min?: number, above?: number, max?: number }
function schema.number(limits)
  return numeric("a number", limits)
end

-- A duration, no longer than the core can count. Without a lower limit: not negative.
---@param limits? { min?: number, above?: number, max?: number }
function schema.seconds(limits)
  limits = limits or {}
  return numeric("a number of seconds", {
    min = limits.min or not limits.above and 0 or nil, above = limits.above,
    max = limits.max or max_seconds,
  })
end

---@param limits? { min?: number, max?: number }
function schema.integer(limits)
  local base = numeric("a whole number", limits)
  return {
    check = function(value, path)
      local ok, why = base.check(value, path)
      if not ok then
        return false, why
      end
      local whole = math.tointeger(value)
      if not whole then
        return false, at(path, ("a whole number expected, got %s"):format(value))
      end
      return true, whole
    end,
  }
end

local function of_type(name, what)
  return {
    check = function(value, path)
      if type(value) ~= name then
        return expected(path, what, value)
      end
      return true, value
    end,
  }
end

schema.boolean = of_type("boolean", "true or false")
schema.func = of_type("function", "a function")
schema.string = of_type("string", "a string")
schema.table = of_type("table", "a table")

-- A string that matches a pattern as a whole; `what` says it in words.
function schema.matching(pattern, what)
  return {
    check = function(value, path)
      if type(value) ~= "string" then
        return expected(path, what, value)
      elseif not value:find("^" .. pattern .. "$") then
        return false, at(path, ("%s expected, got '%s'"):format(what, value))
      end
      return true, value
    end,
  }
end

local function quoted_list(words)
  local parts = {}
  for i, word in ipairs(words) do
    parts[i] = ("'%s'"):format(word)
  end
  local last = table.remove(parts)
  return #parts == 0 and last or table.concat(parts, ", ") .. " or " .. last
end

-- One of these words.
---@param words string[]
function schema.word(words)
  local what = quoted_list(words)
  return {
    check = function(value, path)
      for _, word in ipairs(words) do
        if value == word then
          return true, value
        end
      end
      return false, at(path, ("%s expected, got %s%s"):format(what, show(value),
        suggest.hint(value, words)))
    end,
  }
end

-- A list of values of one type.
---@param limits? { min?: integer, max?: integer }
function schema.list(item, limits)
  limits = limits or {}
  return {
    check = function(value, path)
      if type(value) ~= "table" then
        return expected(path, "a list", value)
      end
      local n, out = #value, {}
      for key in pairs(value) do
        if math.type(key) ~= "integer" or key < 1 or key > n then
          return false, at(path, ("a list expected, got a table with %s"):format(show(key)))
        end
      end
      if n < (limits.min or 0) or n > (limits.max or math.maxinteger) then
        return false, at(path, ("%s to %s items expected, got %d")
          :format(limits.min or 0, limits.max or "any number of", n))
      end
      for i = 1, n do
        local ok, result = item.check(value[i], join(path, i))
        if not ok then
          return false, result
        end
        out[i] = result
      end
      return true, out
    end,
  }
end

-- false, or a value of another type.
function schema.off_or(item)
  return {
    check = function(value, path)
      if value == false then
        return true, false
      end
      return item.check(value, path)
    end,
  }
end

-- How a field of a record behaves when it is not given.
function schema.default(item, value)
  return { check = item.check, default = value }
end

function schema.required(item)
  return { check = item.check, required = true }
end

local function names_of(fields)
  local names = {}
  for name in pairs(fields) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function unknown_key(value, fields)
  local least
  for key in pairs(value) do
    if not fields[key] and (not least or tostring(key) < tostring(least)) then
      least = key
    end
  end
  return least
end

-- Does it matter what is not given?
local function has_rules(fields)
  for _, field in pairs(fields) do
    if field.default ~= nil or field.required then
      return true
    end
  end
  return false
end

-- The result of one look at what is given; nil if anything is wrong with that.
local function all_good(value, fields)
  local out = {}
  for name, item in pairs(value) do
    local field = fields[name]
    if not field then
      return nil
    end
    local ok, result = field.check(item, name)
    if not ok then
      return nil
    end
    out[name] = result
  end
  return out
end

-- A table with these fields and no others. `verify(out)` may look at the whole
-- and return what is wrong with it.
---@param fields table<string, table>
---@param verify? fun(out: table): string?
function schema.record(fields, verify)
  local names, simple = names_of(fields), not has_rules(fields)
  -- All fields in order, so that the first problem is the same in every run.
  local function fill(value, path)
    local out = {}
    for _, name in ipairs(names) do
      local field, item = fields[name], value[name]
      if item == nil then
        item = field.default
      end
      if item ~= nil then
        local ok, result = field.check(item, join(path, name))
        if not ok then
          return false, result
        end
        out[name] = result
      elseif field.required then
        return false, at(path, ("'%s' is missing"):format(name))
      end
    end
    return true, out
  end
  local function read(value, path)
    local key = unknown_key(value, fields)
    if key ~= nil then
      local prefix = path == "" and "" or path .. "."
      return false, ("unknown option '%s'%s"):format(join(path, key),
        suggest.hint(key, names, prefix))
    end
    return fill(value, path)
  end
  return {
    fields = fields,
    check = function(value, path)
      if type(value) ~= "table" then
        return expected(path, "a table of options", value)
      end
      local ok, out = true, simple and all_good(value, fields)
      if not out then
        ok, out = read(value, path)
      end
      if not ok then
        return false, out
      end
      local wrong = verify and verify(out)
      if wrong then
        return false, at(path, wrong)
      end
      return true, out
    end,
  }
end

-- The value to use, or nil and the whole message.
---@param title string "pool 'pbx'"
---@param item table a type
---@param value any
---@return any value
---@return string? message
function schema.validate(title, item, value)
  local ok, result = item.check(value, "")
  if not ok then
    return nil, title .. ": " .. result
  end
  return result
end

return schema
