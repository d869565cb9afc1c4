-- examples/balance.lua: two gateways share the calls by what they can carry. One that
-- comes back gets its share little by little; when both are full the caller is told so.
local sip = require "tandem"

sip.listen { "udp:0.0.0.0:5060" }

local gw = sip.pool("gw", { policy = "weighted", slow_start = 60, servers = {
  { name = "gw1", uri = "sip:10.0.1.1", weight = 100, max_calls = 480, max_cps = 30 },
  { name = "gw2", uri = "sip:10.0.1.2", weight = 50, max_calls = 240, max_cps = 15 },
} })

sip.route("INVITE", function(req)
  local ok, why = req:relay(gw, { attempts = 2, timeout = 3 })
  if ok then return end
  if why == "full" then
    return req:reply(503, "All gateways busy", { headers = { ["Retry-After"] = "5" } })
  end
  return req:reply(500, "No gateway available")
end)
