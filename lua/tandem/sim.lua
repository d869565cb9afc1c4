-- Specs for policies: the real core under virtual time. One seed, one run; nothing
-- sleeps. Plain values and errors, so any test runner will do.
--
--   local sim = require "tandem.sim"
--   local net = sim.new { script = "route.lua", seed = 7 }
--   local a, alice = net:uas "10.0.0.1:5060", net:uac "192.0.2.7"
--   local call = alice:call "sip:bob@example.com"
--   assert(call.code == 200 and call.server == "a")
--   net:finish()
local message = require "tandem.sim.message"
local net = require "tandem.sim.net"
local seeds = require "tandem.sim.seeds"

local _ENV = nil

local sim = {}

-- opts: script (a path) or source (text) of the policy; seed (1); addr, an IP or a
-- list ("10.0.0.100", or what the listeners name); workers; files = { name = text }
-- found before those of the disk; link = { loss =, delay =, ... }; start = wall time
-- in seconds since 1970; hosts = { name = IP } for endpoints; dns = { name = records }
-- (sim/dns.lua); key (16 bytes).
---@param opts table?
---@return tandem.sim.Net
function sim.new(opts)
  local made = net.new(opts)
  seeds.watch(made)
  return made
end

-- The parser endpoints use.
---@param bytes string
---@return tandem.sim.Message?, string?
sim.parse = message.parse

return sim
