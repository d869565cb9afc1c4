-- examples/failover.lua: primary and backup, in-call failover, delayed failback.
local sip = require "tandem"

sip.listen { "udp:127.0.0.1:5060" }

local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:127.0.0.1:5081", tier = 1 },         -- primary
    { name = "b", uri = "sip:127.0.0.1:5082", tier = 2 },         -- backup
  },
  check    = { interval = 2, timeout = 1, fall = 3, rise = 2 },   -- OPTIONS, seconds
  failback = { hold = 60 },      -- tier 1 must stay up 60 s before it takes new calls
})

sip.route(function(req)
  for server in pbx:each(req) do                                  -- usable servers, best first
    local res, err = req:try(server, { timeout = 2 })             -- yields; 2 s to any response
    if err == "cancelled" then return end
    if res and res.code ~= 503 then return res:forward() end
    if res and res.retry_after then server:hold(math.min(res.retry_after, 60)) end
  end
  return req:reply(500, "No PBX available")                       -- 500, not 503: RFC 3261 16.7
end)
