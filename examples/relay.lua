-- examples/relay.lua: the same as failover.lua, in short.
local sip = require "tandem"

sip.listen { "udp:0.0.0.0:5060" }

local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:10.0.0.1", tier = 1 },
    { name = "b", uri = "sip:10.0.0.2", tier = 2 },
  },
  failback = { hold = 60 },
})

-- Tries one server after the other and answers the caller. Whoever is the last to
-- be tried gets 32 s; relay returns nil only when there was nobody to try, and then
-- the caller gets a 500.
sip.route(function(req)
  return req:relay(pbx)
end)
