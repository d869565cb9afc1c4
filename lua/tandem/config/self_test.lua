-- Functions of the script that look at what it declares, once all of it is there: an
-- error of one refuses the script, before anything has changed.
local core = require "tandem.core"
local declare = require "tandem.config.declare"
local misuse = require "tandem.config.misuse"
local error, ipairs, tostring, type, xpcall = error, ipairs, tostring, type, xpcall

local _ENV = nil

local self_test = {}

local tests = {} -- { fn, where }

---@param fn fun()
function self_test.add(fn)
  declare.loading "sip.self_test"
  if type(fn) ~= "function" then
    misuse("sip.self_test: a function expected, got %s", type(fn))
  end
  tests[#tests + 1] = { fn = fn, where = core.where() }
end

local deepest = 20 -- calls of the script that are looked at

-- Is that a place in the script, under way now?
local function is_in_script(place)
  for level = 1, deepest do
    local where = core.where(level)
    if where == place or not where then
      return where == place
    end
  end
  return false
end

-- Messages begin with file and line of the script, also those of assert, which have none,
-- and those of our own functions.
local function located(message)
  local text = tostring(message)
  local place, rest = text:match "^([^%s:]+:%d+): (.*)$"
  if not place or not is_in_script(place) then
    place, rest = core.where() or "?", rest or text
  end
  return ("%s: self-test: %s"):format(place, rest)
end

-- Runs them in the order of the script; raises for the first that fails.
function self_test.run()
  for _, test in ipairs(tests) do
    local ok, message = xpcall(test.fn, located)
    if not ok then
      error(message, 0)
    end
  end
end

return self_test
