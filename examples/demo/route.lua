-- The failover policy of examples/failover.lua, hurried up for `make demo`.
local sip = require "tandem"

sip.listen { "udp:127.0.0.1:5090" }

local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:127.0.0.1:5091", tier = 1 },
    { name = "b", uri = "sip:127.0.0.1:5092", tier = 2 },
  },
  check    = { interval = 0.5, fast_interval = 0.2, timeout = 0.2, fall = 3, rise = 2 },
  failback = { hold = 3 },
})

sip.route(function(req)
  return req:relay(pbx)
end)
