-- TLS for peers that have none, by socat: sipp of Debian is built without. What a
-- tunnel carries is not changed, so that who uses it writes the addresses of its outer
-- side into Via and Contact, and TLS where it speaks TCP.
local process = require "support.process"
local string = string

local _ENV = nil

local tunnel = {}

-- An address of socat: v6 hosts have brackets there too.
local function family(host)
  return string.find(host, ":", 1, true) and "6" or "4"
end

local function start(name, from, to)
  return process.start { name = name, argv = { "socat", from, to } }
end

local function files(own, ca)
  local list = own and string.format(",cert=%s,key=%s", own.cert, own.key) or ""
  return list .. (ca and ",verify=1,cafile=" .. ca.cert or ",verify=0")
end

-- Whoever connects to host:inner goes on by TLS from host:outer to host:to. own: a
-- certificate to show; ca: who must have signed the other's; name: whom it asks for.
function tunnel.client(name, options)
  local self = start(name,
    string.format("TCP%s-LISTEN:%d,bind=%s,reuseaddr", family(options.host), options.inner,
      options.host),
    string.format("OPENSSL:%s:%d,pf=ip%s,bind=%s:%d,reuseaddr,%s%s", options.host, options.to,
      family(options.host), options.host, options.outer,
      options.name and "commonname=" .. options.name or "commonname=,no-sni=1",
      files(options.own, options.ca)))
  self:wait_bound(options.inner, "tcp")
  return self
end

-- Who connects to host:outer by TLS reaches host:inner by TCP.
function tunnel.server(name, options)
  local self = start(name,
    string.format("OPENSSL-LISTEN:%d,pf=ip%s,bind=%s,reuseaddr,fork%s", options.outer,
      family(options.host), options.host, files(options.own, options.ca)),
    string.format("TCP%s:%s:%d", family(options.host), options.host, options.inner))
  self:wait_bound(options.outer, "tcp")
  return self
end

return tunnel
