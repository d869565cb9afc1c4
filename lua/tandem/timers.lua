-- sip.every and sip.after. While the script loads there is no clock: what is asked
-- for then begins when the proxy does. Repeated work is done once per node, in
-- worker 0, unless it asks for { per_worker = true }.
local core = require "tandem.core"
local declare = require "tandem.declare"
local misuse = require "tandem.misuse"
local object = require "tandem.object"
local options = require "tandem.options"
local schema = require "tandem.schema"
local ipairs, type = ipairs, type

local _ENV = nil

local timers = {}

local waiting = {}

local methods = {}

function methods.cancel(self)
  self.cancelled = true
  if self.timer then
    self.timer:cancel()
    self.timer = nil
  end
end

local class = object.class("timer", methods, {})
timers.class = class

local function check(verb, seconds, fn, item)
  declare.check(verb, item, seconds)
  if type(fn) ~= "function" then
    misuse("%s: a function expected, got %s", verb, type(fn))
  end
end

local function begin(verb, arm)
  local self = { full = verb }
  function self.arm()
    if not self.cancelled then
      self.timer = arm()
    end
  end
  if core.phase() == "load" then
    waiting[#waiting + 1] = self
  else
    self.arm()
  end
  return class.new(self)
end

---@param seconds number
---@param fn fun()
---@param opts? { jitter?: number, per_worker?: boolean }
---@return tandem.Timer
function timers.every(seconds, fn, opts)
  check("sip.every", seconds, fn, schema.seconds { min = 0.01 })
  opts = declare.check("sip.every", options.every, opts or {})
  return begin("every", function()
    if opts.per_worker or core.worker() == 0 then
      return core.every(seconds, fn, opts.jitter)
    end
  end)
end

---@param seconds number
---@param fn fun()
---@return tandem.Timer
function timers.after(seconds, fn)
  check("sip.after", seconds, fn, schema.seconds())
  return begin("after", function()
    return core.after(seconds, fn)
  end)
end

-- Begins what was asked for while loading.
function timers.start()
  for _, timer in ipairs(waiting) do
    timer.arm()
  end
  waiting = {}
end

return timers
