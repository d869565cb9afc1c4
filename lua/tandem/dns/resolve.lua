-- sip.resolve(uri[, { key = }]): where the servers of a URI are, as RFC 3263 has it, in
-- the order in which they are to be tried.
local core = require "tandem.core"
local declare = require "tandem.config.declare"
local misuse = require "tandem.config.misuse"
local options = require "tandem.config.options"
local ipairs, tonumber, type = ipairs, tonumber, type

local _ENV = nil

local function shown(place)
  local address, transport = place.addr:match "^(.*);transport=(%w+)$"
  local ip, port = address:match "^%[?([^%]]+)%]?:(%d+)$"
  return {
    address = address, ip = ip, port = tonumber(port), transport = transport,
    rank = place.rank, weight = place.weight, target = place.target,
  }
end

---@param uri string
---@param opts? { key: string? }
---@return tandem.Places?
---@return "bad_uri"|"dns_none"|"dns_timeout"|nil
return function(uri, opts)
  if type(uri) ~= "string" then
    misuse("sip.resolve: a URI expected, got %s", type(uri))
  end
  opts = declare.check("sip.resolve", options.resolve, opts or {})
  if not core.parse_uri(uri) then
    return nil, "bad_uri" -- it may be a stranger's
  end
  local found, why = core.locate(uri, opts)
  if not found then
    return nil, why
  end
  local list = { ttl = found.ttl, stale = found.stale }
  for i, place in ipairs(found) do
    list[i] = shown(place)
  end
  return list
end
