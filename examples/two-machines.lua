-- examples/two-machines.lua: the same on two machines that share virtual addresses.
-- Who has an address serves it; docs/how-to/keepalived.md moves it.
local sip = require "tandem"

sip.listen {
  "udp:192.0.2.100:5060", "tcp:192.0.2.100:5060",   -- virtual
  "udp:192.0.2.200:5060", "tcp:192.0.2.200:5060",   -- a second one, for two-vips.conf
  "udp:192.0.2.11:5060", "udp:192.0.2.12:5060",     -- the machines' own: checks use them
}
sip.settings {
  key_file = "/etc/tandem/key",       -- the same key on both
  state_dir = "/var/lib/tandem",      -- the machine's own: what is down, who has calls
  nodes = { "192.0.2.11", "192.0.2.12" },     -- for when both have an address
  drain_notice = 5,                   -- until the address has moved
}

local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:10.0.0.1" },
    { name = "b", uri = "sip:10.0.0.2" },
  },
  policy = "hash",                    -- both machines choose the same server for a call
})

sip.route(function(req)
  return req:relay(pbx)
end)
