-- examples/tenant.lua: a tenant always meets the same media server, and only the tenants
-- of a server that is gone move. The servers are data: no script changes for a new one.
local sip = require "tandem"

sip.listen { "udp:0.0.0.0:5060" }

local app = sip.pool("app", { policy = "hash", servers = sip.data "app-servers.json" })

sip.route(function(req)
  local tenant = req:header "X-Tenant-ID" or req.ruri.host
  if not req:relay(app, { key = tenant, attempts = 2 }) then return req:reply(500) end
end)
