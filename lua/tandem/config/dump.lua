-- Canonical JSON: the same declarations give the same bytes, whatever the order
-- they were written in. For comparing workers and generations, and for people.
local ipairs, math, pairs, table = ipairs, math, pairs, table
local tostring, type = tostring, type

local _ENV = nil

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function quote(text)
  return '"' .. text:gsub('[%c"\\]', function(c)
    return escapes[c] or ("\\u%04x"):format(c:byte())
  end) .. '"'
end

local function number(value)
  if math.type(value) == "integer" then
    return ("%d"):format(value)
  elseif value == math.floor(value) and math.abs(value) < 2 ^ 53 then
    return ("%.0f"):format(value) -- 2.0 and 2 are the same to whoever wrote them
  end
  return ("%.14g"):format(value)
end

local function is_list(value)
  local n = 0
  for _ in pairs(value) do
    n = n + 1
  end
  return n == #value and n > 0
end

local encode

local function list(value)
  local parts = {}
  for i = 1, #value do
    parts[i] = encode(value[i])
  end
  return "[" .. table.concat(parts, ",") .. "]"
end

-- What nobody should read where a dump is kept.
local secret = { password = true }

local function object(value)
  local parts = {}
  for key, item in pairs(value) do
    item = secret[key] and "***" or item
    parts[#parts + 1] = { tostring(key), item }
  end
  table.sort(parts, function(a, b)
    return a[1] < b[1]
  end)
  for i, part in ipairs(parts) do
    parts[i] = quote(part[1]) .. ":" .. encode(part[2])
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

-- What is not data (a function) shows as its type's name. An empty table is {}.
---@param value any
---@return string
function encode(value)
  local kind = type(value)
  if kind == "table" then
    return is_list(value) and list(value) or object(value)
  elseif kind == "string" then
    return quote(value)
  elseif kind == "number" then
    return number(value)
  elseif kind == "boolean" or kind == "nil" then
    return kind == "nil" and "null" or tostring(value)
  end
  return quote(kind)
end

return encode
