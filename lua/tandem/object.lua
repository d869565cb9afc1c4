-- Objects that scripts hold: read-only handles with methods and computed fields.
-- What is behind a handle is a plain table, its state; only our modules see it.
local misuse = require "tandem.config.misuse"
local suggest = require "tandem.config.suggest"
local getmetatable, ipairs, pairs = getmetatable, ipairs, pairs
local setmetatable, table = setmetatable, table
local tostring = tostring

local _ENV = nil

local object = {}

local function words_of(...)
  local words = {}
  for _, set in ipairs { ... } do
    for word in pairs(set) do
      words[#words + 1] = word
    end
  end
  table.sort(words)
  return words
end

-- `methods` and `fields` hold functions that get the state, not the handle; they may
-- be filled after this call.
---@param name string for messages: "pool"
---@param methods table<string, function>
---@param fields table<string, fun(state: table): any>
function object.class(name, methods, fields)
  local class = { methods = methods, fields = fields }
  local states, bound = {}, {}

  local function gone()
    misuse("this %s is not there any more", name)
  end

  local function bind(key)
    bound[key] = function(handle, ...)
      local state = states[handle]
      if not state then
        if getmetatable(handle) == "tandem." .. name then
          gone()
        end
        misuse("%s:%s(...): call it with a colon", name, key)
      end
      return methods[key](state, ...)
    end
    return bound[key]
  end

  -- Handles are keys with an order: that of their raw field `_order`.
  local meta = {
    __name = "tandem." .. name, __metatable = "tandem." .. name, __order = "_order",
  }

  function meta.__index(handle, key)
    if fields[key] then
      return fields[key](states[handle] or gone())
    elseif methods[key] then
      return bound[key] or bind(key)
    end
    misuse("a %s has no field '%s'%s", name, tostring(key),
      suggest.hint(key, words_of(methods, fields)))
  end

  function meta.__newindex(_, key)
    misuse("the fields of a %s are read-only ('%s')", name, tostring(key))
  end

  function meta.__tostring(handle)
    local state = states[handle]
    return ("%s %s"):format(name, state and state.full or "(gone)")
  end

  -- Makes the handle of a state; state.full is its name, state.handle is set.
  function class.new(state)
    local handle = setmetatable({ _order = name .. " " .. state.full }, meta)
    states[handle] = state
    state.handle = handle
    return handle
  end

  -- What is not there any more: its handle is of no use then.
  function class.forget(state)
    states[state.handle] = nil
  end

  -- The state behind a handle, nil for any other value.
  function class.state(value)
    return value ~= nil and states[value] or nil
  end

  return class
end

return object
