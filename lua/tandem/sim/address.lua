-- Addresses as a test writes them: "10.0.0.1", "10.0.0.1:5060", "tcp:10.0.0.1:5060",
-- "tls:[2001:db8::1]"; and as endpoints hand them on: a hop is "10.0.0.1:5060" (UDP)
-- or "tcp:10.0.0.1:5060".
local error = error

local _ENV = nil

local address = {}

local ports = { udp = 5060, tcp = 5060, tls = 5061 }

---@class tandem.sim.Address
---@field transport string "udp", "tcp" or "tls"
---@field ip string
---@field port integer|string
---@field addr string with the port
---@field given boolean? a transport was written

local function split(text)
  local ip, port = text:match "^%[([%x:.]+)%]:?(%d*)$"
  if ip then
    return ip, port
  elseif text:find ":.*:" then
    return text, ""
  end
  return text:match "^([^:]+):?(%d*)$"
end

-- transport: when the text says none; "udp".
---@param text string
---@param transport string?
---@return tandem.sim.Address
function address.parse(text, transport)
  local written, rest = text:match "^(%l+):(.*)$"
  if not ports[written] then
    written, rest = nil, text
  end
  local ip, port = split(rest)
  if not ip then
    error("not an address: " .. text, 0)
  end
  transport = written or transport or "udp"
  port = port ~= "" and port or ports[transport]
  return {
    transport = transport, ip = ip, port = port, given = written ~= nil,
    addr = (ip:find ":" and "[%s]:%s" or "%s:%s"):format(ip, port),
  }
end

-- The hop that an address is.
---@param at tandem.sim.Address
---@return string
function address.hop(at)
  return at.transport == "udp" and at.addr or at.transport .. ":" .. at.addr
end

-- The transport of a hop.
---@param hop string
---@return string
function address.transport(hop)
  return hop:match "^(t%l%l):" or "udp"
end

-- Can it be used without asking DNS?
---@param host string as in a URI
---@return boolean
function address.is_ip(host)
  return host:find "^[%d.]+$" ~= nil or host:find "^%[" ~= nil
end

return address
