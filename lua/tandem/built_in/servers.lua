-- The script of `tandem SERVER...`: calls go to the first server that takes them, and
-- back to an earlier one when it has proved itself. All else is as the defaults say.
local sip = require "tandem"
local core = require "tandem.core"
local error, ipairs = error, ipairs

local _ENV = nil

-- What its part of log lines and metrics is called: 10.0.0.1, or 10.0.0.1-5080.
local function name_of(uri, taken)
  local name = uri.host:gsub("[%[%]]", ""):gsub("[^%w_.-]", "-")
  if uri.port then
    name = ("%s-%d"):format(name, uri.port)
  end
  if taken[name] then
    name = ("%s-%s"):format(name, uri.scheme == "sips" and "sips" or uri.transport or "udp")
  end
  local base, n = name, 1
  while taken[name] do
    n = n + 1
    name = ("%s-%d"):format(base, n)
  end
  taken[name] = true
  return name
end

-- All addresses of the machine; IPv6 when a server needs it.
local function default_listeners(uris)
  local list = { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }
  for _, uri in ipairs(uris) do
    if uri.ip and uri.ip:find(":", 1, true) then
      list[3], list[4] = "udp:[::]:5060", "tcp:[::]:5060"
    end
  end
  return list
end

---@param opts { listen: string[], servers: string[] } URIs, the best one first
return function(opts)
  local uris, servers, taken = {}, {}, {}
  for i, text in ipairs(opts.servers) do
    local uri, why = core.parse_uri(text)
    if not uri then
      error(("server '%s': %s"):format(text, why), 0)
    end
    uris[i] = uri
    servers[i] = { name = name_of(uris[i], taken), uri = text, tier = i }
  end
  sip.listen(#opts.listen > 0 and opts.listen or default_listeners(uris))
  local pool = sip.pool("servers", { servers = servers })
  sip.route(function(req)
    if not req:relay(pool) then
      return req:reply(500, "No server available")
    end
  end)
end
