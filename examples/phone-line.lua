-- examples/phone-line.lua: the two servers of a desk phone's line, with its knobs. The
-- first failure goes to the backup; while there, a REGISTER every half hour asks
-- whether the first one is back, and one 200 goes back.
local sip = require "tandem"

sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }

local line = sip.pool("line", {
  servers = { { name = "server1", uri = "sip:pbx1.example.com;transport=tcp", tier = 1 },
              { name = "server2", uri = "sip:pbx2.example.com", tier = 2 } },
  attempt  = { retransmits = 3, last_timeout = 32 },        -- "signal retry counts"
  retry_on = { "local", 500, 503 },                         -- "server unavailable"
  passive  = { fall = 1, hold = 0, codes = { 500, 503 } },  -- and stay on the other one
  check    = { method = "REGISTER", when = "backup", user = "1000",
               password = sip.data("secret.json").line, expect = { 200 },
               interval = 1800, timeout = 32, fall = 1, rise = 1 },
  failback = { enabled = true, hold = 0 },
  shared_dialogs = true,                                    -- BYE may go to the backup
})

sip.route(function(req)
  if not req:relay(line) then return req:reply(500) end
end)
