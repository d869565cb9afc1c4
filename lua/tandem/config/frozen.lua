-- Read-only views of plain data: what a script gets back of what it declared.
-- #, ipairs and pairs work on a view, assignment raises. Tables that have a
-- metatable (our objects, views) are left as they are.
local error, getmetatable, pairs = error, getmetatable, pairs
local setmetatable, tostring, type = setmetatable, tostring, type

local _ENV = nil

local function refuse(_, key)
  error(("'%s' cannot be set: this table is read-only"):format(tostring(key)), 2)
end

---@param value any
---@return any
local function freeze(value)
  if type(value) ~= "table" or getmetatable(value) ~= nil then
    return value
  end
  local copy = {}
  for key, item in pairs(value) do
    copy[key] = freeze(item)
  end
  local view = {}
  return setmetatable(view, {
    __index = copy,
    __newindex = refuse,
    __len = function()
      return #copy
    end,
    __pairs = function()
      local step, state, first = pairs(copy)
      return function(_, key)
        return step(state, key)
      end, view, first
    end,
    __metatable = "read-only",
  })
end

return freeze
