-- Whether this process takes calls, and that it should not: draining it, ending it.
local host = require "tandem.control.host"
local ipairs = ipairs

local _ENV = nil

-- How much there is to wait for, now and not a second ago.
local function load()
  local loads, why = host.ask_all "load"
  if not loads then
    return nil, why
  end
  local info = host.info()
  local sum = { draining = info.draining, stopping = info.stopping, requests = 0, calls = 0 }
  for _, one in ipairs(loads) do
    sum.requests = sum.requests + one.requests
    sum.calls = sum.calls + one.calls
  end
  return sum
end

local function drain(word)
  return function(request)
    local done, why = host.call("drain", word, request.who)
    if not done then
      return nil, { status = 409, error = why }
    end
    return load()
  end
end

local function stop(request)
  host.call("stop", request.who)
  return load()
end

-- Why a pool should get no calls, or nil; and the status to say that with.
local function pool_unready(name)
  local pools, why = host.ask "pools.heads"
  for _, pool in ipairs(pools or {}) do
    if pool.name == name then
      return pool.state == "down" and ("pool '%s' is down"):format(name) or nil, 503
    end
  end
  return why or ("there is no pool '%s'"):format(name), pools and 404 or 503
end

-- The same of all of it.
local function unready(name)
  local sum, why = load()
  if not sum or sum.draining then
    return why or "draining", 503
  elseif name then
    return pool_unready(name)
  end
end

return function(route, api)
  route("GET", "/v1/drain", "read", load)
  route("POST", "/v1/drain", "write", drain "on")
  route("DELETE", "/v1/drain", "write", drain "off")
  route("POST", "/v1/stop", "write", stop)

  -- For whoever sends calls here: is it well, and does it take them?
  route("GET", "/readyz", "read", function(request)
    local why, status = unready(request.query.pool)
    if why then
      return api.text("text/plain", why .. "\n", status)
    end
    return api.text("text/plain", "ready\n" .. (host.info().key_is_temporary
      and "the key is temporary: calls do not survive a restart\n" or ""))
  end)
end
