-- What the process is and whether it is well.
local cjson = require "cjson"
local host = require "tandem.control.host"
local ipairs = ipairs

local _ENV = nil

local function count(pools, loads)
  local sum = { pools = #pools, servers = 0, usable = 0, calls = 0, requests = 0 }
  for _, pool in ipairs(pools) do
    sum.servers, sum.usable = sum.servers + pool.size, sum.usable + pool.usable
  end
  for _, load in ipairs(loads) do
    sum.calls, sum.requests = sum.calls + load.calls, sum.requests + load.requests
  end
  return sum
end

-- How the last reload went, and what the present generation has changed.
local function last_reload()
  local last = cjson.decode((host.call "reloads"))
  local out = {
    ok = last.ok, cause = last.cause, when = last.when, generation = last.generation,
    success_when = last.success_when, changes = host.ask "changes",
  }
  out.rejected = not last.ok and {
    generation = last.rejected_generation, reason = last.rejected_reason,
    when = last.rejected_when,
  } or nil
  return out
end

-- Which key signs and which one is believed too, by their fingerprints.
local function key(info)
  local found = {
    origin = info.key_origin, signs = info.key_signs,
    verifies = info.key_verifies ~= "" and info.key_verifies or nil,
  }
  info.key_origin, info.key_signs, info.key_verifies = nil, nil, nil
  return found
end

-- Workers that refuse what is new.
local function overloaded(loads)
  local n = 0
  for _, one in ipairs(loads) do
    n = n + one.overloaded
  end
  return n
end

local function status()
  local pools, why = host.ask "pools.heads"
  local loads
  if pools then
    loads, why = host.ask_all "load"
  end
  if not loads then
    return nil, why
  end
  local info = host.info()
  info.uptime = info.now - info.started
  info.count = count(pools, loads)
  info.overloaded = overloaded(loads)
  info.reload = last_reload()
  info.key = key(info)
  return info
end

return function(route, api)
  route("GET", "/v1/status", "read", status)

  -- The process is there and answers.
  route("GET", "/healthz", "read", function()
    return api.text("text/plain", "ok\n")
  end)
end
