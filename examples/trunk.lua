-- examples/trunk.lua: a carrier's trunk. Its gateways are found in DNS: priority and
-- weight of the SRV records say who takes a call, and what changes there changes here.
-- Only the PBX calls out; what comes from the carrier goes to the PBX.
local sip = require "tandem"

sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }

local carrier = sip.pool("carrier", {
  discover = { "sip:trunk.carrier.example", stale = 3600, rewrite = "host" },
  check    = { interval = 30, timeout = 4 },           -- it is not our machine
  passive  = { fall = 3 },                             -- the calls find out earlier
  attempt  = { timeout = 3, attempts = 3 },
  slow_start = 60,                                     -- a new gateway begins with a few
})
local carrier_net = sip.netset { "198.51.100.0/24" }   -- and it calls from any machine there

local pbx = sip.pool("pbx", { servers = {
  { name = "pbx1", uri = "sip:10.0.0.1", tier = 1 },
  { name = "pbx2", uri = "sip:10.0.0.2", tier = 2 },
} })

-- A gateway that DNS names, or a PBX.
sip.route("*from_server", function(req)
  local server = req.source.server
  return req:relay(pbx:server(server.name) == server and carrier or pbx)
end)

sip.route(function(req)
  if carrier_net:has(req.source.ip) then return req:relay(pbx) end
  return req:reply(403, "Only the PBX and the carrier call here")
end)
