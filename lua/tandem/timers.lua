-- sip.every and sip.after. What is asked for while the script loads begins with the
-- proxy, and is done once per node, in worker 0, unless it asks for
-- { per_worker = true }. What a handler asks for is done in the worker it runs in.
local core = require "tandem.core"
local declare = require "tandem.config.declare"
local misuse = require "tandem.config.misuse"
local options = require "tandem.config.options"
local schema = require "tandem.config.schema"
local type = type

local _ENV = nil

local timers = {}

local function check(verb, seconds, fn, item)
  declare.check(verb, item, seconds)
  if type(fn) ~= "function" then
    misuse("%s: a function expected, got %s", verb, type(fn))
  end
end

-- What the other workers get.
local idle = {
  cancel = function() end,
}

local function elsewhere()
  return core.phase() == "load" and core.worker() ~= 0
end

---@param seconds number
---@param fn fun()
---@param opts? { jitter?: number, per_worker?: boolean }
---@return tandem.Timer
function timers.every(seconds, fn, opts)
  check("sip.every", seconds, fn, schema.seconds { min = 0.01 })
  opts = declare.check("sip.every", options.every, opts or {})
  if elsewhere() and not opts.per_worker then
    return idle
  end
  return core.every(seconds, fn, opts.jitter)
end

---@param seconds number
---@param fn fun()
---@return tandem.Timer
function timers.after(seconds, fn)
  check("sip.after", seconds, fn, schema.seconds())
  if elsewhere() then
    return idle
  end
  return core.after(seconds, fn)
end

return timers
