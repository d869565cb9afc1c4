-- examples/number.lua: between a PBX that dials as people in London do and a carrier
-- that speaks E.164. A number that no rule covers is refused, not guessed.
local sip = require "tandem"

sip.listen { "udp:0.0.0.0:5060" }

local pbx = sip.pool("pbx", { servers = { { name = "pbx", uri = "sip:10.0.0.1" } } })
local carrier = sip.pool("carrier", { servers = {
  { name = "carrier", uri = "sip:203.0.113.10", rewrite = "host" }, -- it wants its own host
} })

-- { the whole number, what becomes of it }; the first that fits decides.
local dialled = {
  { "999", "%0" }, { "112", "%0" },        -- emergency numbers: untouched
  { "00([1-9]%d+)", "+%1" },               -- international
  { "0([1-9]%d+)", "+44%1" },              -- national
  { "[2-9]%d%d%d%d%d%d%d", "+4420%0" },    -- local
}
local ours = { { "%+442079460(%d%d%d)", "%1" } }           -- a number of ours: its extension
local extension = { { "%d%d%d", "+442079460%0" } }         -- and back, to present outside
local shown = {                                            -- a caller's, as one would dial it
  { "%+4420(%d%d%d%d%d%d%d%d)", "%1" }, { "%+44(%d+)", "0%1" }, { "%+(%d+)", "00%1" },
}

local function convert(number, rules)
  for _, rule in ipairs(rules) do
    local result, n = (number or ""):gsub("^" .. rule[1] .. "$", rule[2])
    if n == 1 then return result end
  end
end

-- Sends it there, with these numbers. The caller's goes into P-Asserted-Identity: From
-- belongs to the two ends of the call (RFC 3261 16.6), also to identify it.
local function pass(req, pool, called, caller, host)
  if not called then return req:reply(404, "No rule for this number") end
  req.ruri.user = called
  req:set_header("P-Asserted-Identity", ("<sip:%s@%s>"):format(caller, host))
  return req:relay(pool)
end

sip.route("*from_server", function(req)
  local number, caller = req.ruri.user, req.from.user
  if req.source.server == carrier:server "carrier" then
    return pass(req, pbx, convert(number, ours), convert(caller, shown) or "anonymous", "10.0.0.1")
  end
  local main = "+442079460000" -- for a caller without a number of its own
  return pass(req, carrier, convert(number, dialled), convert(caller, extension) or main,
    "203.0.113.10")
end)

sip.route(function(req) return req:reply(403, "Only the PBX and the carrier call here") end)
