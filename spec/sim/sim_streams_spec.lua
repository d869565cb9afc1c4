-- Connections of the simulated network, between endpoints that know no proxy.
local sim = require "support.sim"

describe("a simulated connection", function()
  after_each(sim.finish)

  local net, alice, bob

  before_each(function()
    net = sim.new { seed = 5 }
    alice, bob = net:uac("tcp:192.0.2.7", "alice"), net:uas("tcp:192.0.2.8", "bob")
  end)

  local function call()
    return alice:call "sip:bob@192.0.2.8"
  end

  it("is opened first, and kept", function()
    local first = call()
    assert.ladder(net, [[
      0.000 alice INVITE TCP-> bob
      0.001 bob   200    TCP-> alice
      0.002 alice ACK    TCP-> bob
    ]])
    assert.equal(0.004, first.elapsed)
    assert.equal(0.002, call().elapsed)
    assert.equal(1, #alice:connections())
    assert.equal(1, #bob:connections())
    assert.is_true(bob:connections()[1].accepted)
    assert.equal("192.0.2.8:5060", alice:connections()[1].peer)
  end)

  it("shows its transport in Via, Contact and packets", function()
    call()
    local invite = bob:got("INVITE")[1]
    assert.matches("^SIP/2.0/TCP 192.0.2.7:5060;", invite:header "Via")
    assert.equal("<sip:alice@192.0.2.7:5060;transport=tcp>", invite:header "Contact")
    assert.equal("tcp", invite.transport)
    assert.equal("tcp", net:packets()[1].transport)
  end)

  it("is another one for the requests of who was called", function()
    local made = call()
    assert.equal(200, bob:bye(made):wait().code)
    assert.equal(2, #alice:connections())
    assert.equal("192.0.2.7:5060", bob:connections()[2].peer)
  end)

  it("is refused after a round trip when nobody listens", function()
    bob:refuse()
    local made = call()
    assert.equal("transport", made.error)
    assert.equal(0.002, made.elapsed)
    assert.equal("refused", alice.ended[1].cause)
    bob:resume()
    assert.equal(200, call().code)
  end)

  it("times out when the machine is off or was never there", function()
    bob:power_off()
    local made = call()
    assert.equal("transport", made.error)
    assert.equal(10, made.elapsed)
    assert.equal("connect_timeout", alice.ended[1].cause)
    assert.equal("transport", alice:call("sip:bob@192.0.2.99").error)
  end)
end)
