-- Data in files beside the script: sip.data and sip.netset.
local core = require "tandem.core"
local declare = require "tandem.config.declare"
local frozen = require "tandem.config.frozen"
local misuse = require "tandem.config.misuse"
local netset = require "tandem.config.netset"
local ipairs, pairs, pcall = ipairs, pairs, pcall
local tostring, type = tostring, type

local _ENV = nil

local data = {}

-- The bytes of a file, found where the script is.
local function load(verb, path)
  if type(path) ~= "string" then
    misuse("%s: the name of a file expected, got %s", verb, type(path))
  end
  local ok, bytes = pcall(core.load_data, path)
  if not ok then
    misuse("%s: %s: %s", verb, path, tostring(bytes))
  end
  -- The dump says which data it was, not what: there may be secrets in it.
  declare.keep("data", ("%x"):format(core.hash(bytes)), path)
  return bytes
end

-- The lines of a text, without comments (#) and blanks.
local function lines(text)
  local found = {}
  for line in text:gmatch "[^\r\n]+" do
    local item = line:gsub("#.*", ""):match "^%s*(.-)%s*$"
    if item ~= "" then
      found[#found + 1] = item
    end
  end
  return found
end

-- What is in a JSON file; of a file that is not called *.json, the list of its
-- lines. Read-only.
---@param path string
---@return table
function data.data(path)
  declare.loading "sip.data"
  local bytes = load("sip.data", path)
  if not path:find "%.json$" then
    return frozen(lines(bytes))
  end
  local ok, value = pcall(core.json_decode, bytes)
  if not ok then
    misuse("sip.data: %s: %s", path, tostring(value))
  end
  return frozen(value)
end

-- A set of networks; those in the file, one on a line, are added.
---@param given table
---@return tandem.NetSet
function data.netset(given)
  declare.loading "sip.netset"
  if type(given) ~= "table" then
    misuse("sip.netset: a list of networks expected, got %s", type(given))
  end
  local list = {}
  for key, item in pairs(given) do
    if key ~= "file" then
      list[key] = item
    end
  end
  if given.file ~= nil then
    for _, line in ipairs(lines(load("sip.netset: file", given.file))) do
      list[#list + 1] = line
    end
  end
  list = declare.check("sip.netset", netset.list, list)
  declare.keep("netsets", list)
  return netset.new(list)
end

return data
