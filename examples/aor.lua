-- examples/aor.lua: phones register at one of several servers that do not share their
-- registrations, and a call for a phone goes to the server that holds its registration.
local sip = require "tandem"

sip.listen { "udp:0.0.0.0:5060" }

local pbx = sip.pool("pbx", { policy = "hash", path = "always", servers = {
  { name = "pbx1", uri = "sip:10.0.0.1" },
  { name = "pbx2", uri = "sip:10.0.0.2" },
  { name = "pbx3", uri = "sip:10.0.0.3" },
} })

-- The address of record: what a registration is kept under (RFC 3261 10.3).
local function aor(uri)
  return (uri.user or "") .. "@" .. uri.host:lower()
end

sip.route("REGISTER", function(req) return req:relay(pbx, { key = aor(req.to) }) end)
sip.route(function(req) return req:relay(pbx, { key = aor(req.ruri) }) end)
