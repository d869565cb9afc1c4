-- Waiting until something has no calls any more, with a line that says how far it is.
local duration = require "tandem.command.duration"
local text = require "tandem.command.text"
local math, table = math, table

local _ENV = nil

local wait = {}

local every = 0.5 -- seconds

-- --wait[=S]
---@type tandem.Option
wait.option = {
  name = "wait", value = "DURATION", default = math.huge, parse = duration.parse,
  help = "return when no call is left, or fail then",
}

-- A time that was over.
---@param seconds number
---@return string
function wait.span(seconds)
  return seconds < 1 and ("%g s"):format(seconds) or duration.text(seconds)
end

-- "3 calls, 1 request open"; nil for nothing.
---@param load { calls: integer, setup?: integer, requests: integer }
---@return string?
function wait.rest(load)
  local parts = {}
  if load.calls > 0 then
    parts[#parts + 1] = text.count(load.calls, "call")
  end
  if (load.setup or 0) > 0 then
    parts[#parts + 1] = ("%d in set-up"):format(load.setup)
  end
  if load.requests > 0 then
    parts[#parts + 1] = text.count(load.requests, "request") .. " open"
  end
  return #parts > 0 and table.concat(parts, ", ") or nil
end

-- Asks look() until nothing is left, or for so many seconds.
---@param ctx table
---@param name string
---@param seconds number
---@param look fun(): table, any
---@return string? rest what is left; nil: nothing
---@return any last what look() gave beside it
function wait.for_end(ctx, name, seconds, look)
  local began = ctx.api:now()
  while true do
    local load, last = look()
    local rest, passed = wait.rest(load), ctx.api:now() - began
    if not rest or passed >= seconds then
      ctx.out:progress ""
      return rest, last
    end
    ctx.out:progress(("%s: %s, after %s"):format(text.clean(name), rest, duration.text(passed)))
    ctx.api:sleep(math.min(every, math.max(seconds - passed, 0)))
  end
end

return wait
