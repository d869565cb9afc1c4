-- sip.settings { dns = ... }: what is refused, and with which words.
local sim = require "support.sim"

local function refusal(dns)
  local source = ([[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
sip.settings { dns = %s }
]]):format(dns)
  local ok, why = pcall(sim.new, { source = source })
  assert.False(ok)
  return why
end

describe("sip.settings { dns = }", function()
  after_each(sim.finish)

  it("takes addresses", function()
    sim.new { source = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
sip.settings { dns = { servers = { "127.0.0.1", "127.0.0.1:5353", "[::1]:5353" }, timeout = 1 } }
]] }
  end)

  for given, words in pairs {
    ['{ servers = { "ns.example" } }'] = "an IP address expected, with or without a port, "
      .. "got 'ns.example'",
    ['{ servers = {} }'] = "1 to 4 items expected, got 0",
    ['{ servers = { "1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5" } }'] =
      "1 to 4 items expected, got 5",
    ["{ timeout = 0 }"] = "timeout",
    ["{ ttl_min = 10, ttl_max = 5 }"] = "ttl_min: more than ttl_max %(5%)",
    ["{ ttl_min = 4000 }"] = "ttl_min: more than ttl_max %(3600%)",
    ["{ server = {} }"] = "did you mean 'dns.servers'",
    ["{ names = 10 }"] = "names",
  } do
    it("refuses " .. given, function()
      assert.match(words, refusal(given))
    end)
  end
end)
