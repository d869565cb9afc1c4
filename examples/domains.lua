-- examples/domains.lua: several domains, each with servers of its own, which are told
-- where a caller really is.
local sip = require "tandem"

sip.listen { "udp:0.0.0.0:5060" }

local edges = sip.netset { "10.20.0.0/16" }    -- proxies of ours, further out
sip.settings { domains = { "alpha.example", "beta.example" }, trust = edges }

local pools = {
  ["alpha.example"] = sip.pool("alpha", { servers = {
    { name = "a1", uri = "sip:10.0.1.1", tier = 1 },
    { name = "a2", uri = "sip:10.0.1.2", tier = 2 },
  } }),
  ["beta.example"] = sip.pool("beta", { servers = { { name = "b1", uri = "sip:10.0.2.1" } } }),
}

sip.route(function(req)
  local pool = pools[req.ruri.host:lower()]
  if not pool then
    return req:reply(403, "Not a domain of ours")
  end
  -- Servers believe this header. From an edge it says where the caller is; whoever else
  -- brings it is overruled, however often or in whatever case the name is there.
  if not (edges:has(req.source.ip) and req:header "X-Caller-Address") then
    req:set_header("X-Caller-Address", req.source.ip)
  end
  return req:relay(pool)
end)
