-- Two machines, one address: what is up, and what rings, survives who carried it.
local sim = require "tandem.sim"
describe("examples/two-machines.lua", function()
  local vip = "192.0.2.100"
  local net, first, second, alice
  before_each(function()
    local files = { ["/etc/tandem/key"] = ("k"):rep(32) }
    net = sim.new { script = "examples/two-machines.lua", files = files,
      addr = { "192.0.2.11", vip }, seed = 1 }
    first = net.nodes[1]
    second = net:node { addr = { "192.0.2.12" } }
    net:uas("10.0.0.1", "a")
    net:uas("10.0.0.2", "b")
    alice = net:uac("192.0.2.7", { proxy = vip .. ":5060" })
    net:run(5)
  end)
  after_each(function() net:finish() end)
  local function take_over()
    first:power_off()
    second:take(vip)
  end
  it("hangs up through the machine that took over", function()
    local call = alice:call "sip:bob@example.com"
    assert.equal(200, call.code)
    take_over()
    assert.equal(200, alice:bye(call):wait().code)
  end)
  it("gives new calls to the machine that took over", function()
    take_over()
    assert.equal(200, alice:call("sip:bob@example.com").code)
  end)
end)
