-- A policy is asked for what it is to do when all is well, when servers are busy, and
-- when they are gone.
local sim = require "tandem.sim"

describe("examples/policy.lua", function()
  local net, berlin1, berlin2, lisbon1, ana, bert

  before_each(function()
    net = sim.new { script = "examples/policy.lua" }
    berlin1, berlin2 = net:uas("10.1.0.11", "berlin1"), net:uas("10.1.0.12", "berlin2")
    lisbon1 = net:uas("10.2.0.11", "lisbon1")
    bert, ana = net:uac "10.1.9.1", net:uac "10.2.9.1"
    net:run(5)
  end)

  after_each(function() net:finish() end)

  local function call(phone)
    return phone:call "sip:conference@example.com"
  end

  it("keeps callers at their site", function()
    assert.equal("berlin1", call(bert).server)
    assert.equal("lisbon1", call(ana).server)
  end)

  it("gives strangers the least busy server of all", function()
    berlin1:ring()
    bert:invite "sip:conference@example.com"
    net:run(1)
    assert.equal("berlin2", call(net:uac "192.0.2.7").server)
  end)

  it("takes the less busy one of a site", function()
    berlin1:ring()
    bert:invite "sip:conference@example.com"
    net:run(1)
    assert.equal("berlin2", call(bert).server)
  end)

  it("would rather have a busy server nearby than a free one far away", function()
    berlin1:ring()
    berlin2:ring()
    for _ = 1, 5 do bert:invite "sip:conference@example.com" end
    net:run(1)
    assert.same({}, lisbon1:got "INVITE")
  end)

  it("goes to the other site when there is nobody at home, and comes back", function()
    berlin1:power_off()
    berlin2:power_off()
    assert.same({ "berlin1", "berlin2", "lisbon1" }, call(bert).tried)
    net:run(10)
    assert.same({ "lisbon1" }, call(bert).tried)
    berlin1:resume()
    net:run(60)
    assert.same({ "berlin1" }, call(bert).tried)
  end)

  it("meets the same server again after a 407, however busy it is by then", function()
    berlin1:once("INVITE", 407, { ["Proxy-Authenticate"] = 'Digest realm="x", nonce="1"' })
    local first = call(bert)
    assert.equal(407, first.code)
    berlin1:ring()
    bert:invite "sip:conference@example.com"
    net:run(1)
    bert:invite("sip:conference@example.com", { again = first })
    net:run(1)
    assert.equal(3, #berlin1:got "INVITE")
  end)
end)
