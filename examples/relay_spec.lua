-- examples/relay.lua: the short form of failover.lua, where the last candidate has
-- its 32 seconds.
local sim = require "tandem.sim"

describe("examples/relay.lua", function()
  local net, a, b, alice

  before_each(function()
    net = sim.new { script = "examples/relay.lua", seed = 1 }
    a, b, alice = net:uas "10.0.0.1:5060", net:uas "10.0.0.2:5060", net:uac "192.0.2.7"
    net:run(5)
  end)

  after_each(function() net:finish() end)

  it("sends calls to the primary", function()
    local call = alice:call "sip:bob@example.com"
    assert.equal("a", call.server)
    assert.same({ "a" }, call.tried)
    assert.equal(200, alice:bye(call):wait().code)
  end)

  it("tries the backup within the same call, after 4 s of silence", function()
    a:silence()
    local call = alice:call "sip:bob@example.com"
    assert.same({ "a", "b" }, call.tried)
    assert.near(4.01, call.elapsed, 0.1)
  end)

  it("tries the backup at once when nobody listens on the primary", function()
    a:refuse()
    local call = alice:call "sip:bob@example.com"
    assert.equal("b", call.server)
    assert.near(0.01, call.elapsed, 0.01)
  end)

  it("goes to the backup alone once the checks have seen it", function()
    a:power_off()
    net:run(10)
    assert.equal("down", net.pools.pbx.a.status)
    assert.equal("backup", net.pools.pbx.state)
    assert.same({ "b" }, alice:call("sip:bob@example.com").tried)
  end)

  it("waits for the last candidate: 36 s, then 500", function()
    a:on("INVITE", function() end)
    b:on("INVITE", function() end)
    local call = alice:invite "sip:bob@example.com"
    net:run(40)
    assert.equal(500, call.code)
    assert.near(36, call.elapsed, 0.1)
  end)

  it("fails back only after the hold", function()
    a:silence() net:run(10) a:resume() net:run(30)
    assert.equal("b", alice:call("sip:bob@example.com").server)
    net:run(60)
    assert.equal("a", alice:call("sip:bob@example.com").server)
  end)

  it("lets a server call a phone", function()
    local call = a:call "sip:alice@192.0.2.7"
    assert.equal("192.0.2.7", call.server)
    assert.equal(200, alice:bye(call):wait().code)
  end)
end)
