-- What an operator looks at for a while: another log level, one call on the wire.
local host = require "tandem.control.host"
local ipairs, math, tostring, type = ipairs, math, tostring, type

local _ENV = nil

local default_for, most_for = 300, 86400
local levels = { "error", "warn", "info", "debug" }

local function wrong(text, ...)
  return nil, { status = 400, error = text:format(...) }
end

-- The seconds of a body; nil when they are none.
local function seconds(body)
  local value = body["for"]
  if value == nil then
    return default_for
  end
  return math.type(value) and value > 0 and value <= most_for and value or nil
end

local function text(body, name)
  local value = body[name]
  return value == nil and "" or type(value) == "string" and value or nil
end

local function is_level(word)
  for _, level in ipairs(levels) do
    if word == level then
      return true
    end
  end
  return false
end

-- The answer to a verb, as a handler gives it.
local function done(answer, why)
  if not answer then
    return wrong("%s", why)
  end
  return {}
end

-- { level = "debug", for = 300 }
local function set_level(request)
  local body = request.body
  local time = seconds(body)
  if not is_level(body.level) then
    return wrong("level: one of error, warn, info and debug expected")
  elseif not time then
    return wrong("for: seconds up to %d expected", most_for)
  end
  return done(host.call("log_level", body.level, tostring(time), request.who))
end

-- { call_id =, from =, hep =, for = }
local function trace(request)
  local body = request.body
  local call_id, from, hep = text(body, "call_id"), text(body, "from"), text(body, "hep")
  local time = seconds(body)
  if not call_id or not from or not hep then
    return wrong("call_id, from and hep are strings")
  elseif call_id == "" and from == "" then
    return wrong("call_id or from: whose messages?")
  elseif not time then
    return wrong("for: seconds up to %d expected", most_for)
  end
  return done(host.call("trace", call_id, from, hep, tostring(time), request.who))
end

return function(route)
  route("PUT", "/v1/log-level", "write", set_level)
  route("DELETE", "/v1/log-level", "write", function(request)
    return done(host.call("log_level", "", "0", request.who))
  end)
  route("PUT", "/v1/trace", "write", trace)
  route("DELETE", "/v1/trace", "write", function(request)
    return done(host.call("trace", "", "", "", "0", request.who))
  end)
end
