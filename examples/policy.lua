-- examples/policy.lua: a policy of one's own. Callers get a media server of their own
-- site, the least busy of it; those of the other site take over when there is none.
local sip = require "tandem"

sip.listen { "udp:0.0.0.0:5060" }

local sites = {
  { name = "berlin", networks = sip.netset { "10.1.0.0/16" } },
  { name = "lisbon", networks = sip.netset { "10.2.0.0/16" } },
}

local function site_of(ip)
  for _, site in ipairs(sites) do
    if site.networks:has(ip) then return site.name end
  end
end

-- Gets the usable servers of a tier and gives them back, best first.
local function nearest(req, servers)
  local site = req and site_of(req.source.ip)
  local order, rank = {}, {}
  for i, server in ipairs(servers) do
    local near = site and server.name:find(site, 1, true) == 1
    order[i] = server
    -- Looked at once: what other workers count may change while we sort.
    rank[server] = (near and 0 or 1e6) + server.calls + server.inflight
  end
  table.sort(order, function(x, y)
    if rank[x] ~= rank[y] then return rank[x] < rank[y] end
    return x.name < y.name
  end)
  return order
end

local media = sip.pool("media", { policy = nearest, servers = {
  { name = "berlin1", uri = "sip:10.1.0.11" },
  { name = "berlin2", uri = "sip:10.1.0.12" },
  { name = "lisbon1", uri = "sip:10.2.0.11" },
} })

sip.route(function(req) return req:relay(media, { attempts = 3 }) end)
