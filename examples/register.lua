-- examples/register.lua: phones register through us, and their servers reach them through
-- us (Path, RFC 3327), also behind a NAT. The servers share their registrations.
local sip = require "tandem"

sip.listen { "udp:0.0.0.0:5060" }
sip.settings { state_dir = "/var/lib/tandem" }    -- keeps the key: phones stay reachable

local pbx = sip.pool("pbx", { path = "always", retry_on = { "local", 500, 503 }, servers = {
  { name = "a", uri = "sip:10.0.0.1", tier = 1 },
  { name = "b", uri = "sip:10.0.0.2", tier = 2 },
} })

sip.route("REGISTER", function(req) return req:relay(pbx, { key = req.to.user }) end)
sip.route(function(req) return req:relay(pbx) end)    -- calls to phones never come here
