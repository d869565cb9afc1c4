-- Who gets how much, what happens at the limits, and how a gateway comes back.
local sim = require "tandem.sim"

local number = "sip:+442079460123@example.com"

describe("examples/balance.lua", function()
  local net, gw1, gw2, alice

  before_each(function()
    net = sim.new { script = "examples/balance.lua" }
    gw1, gw2 = net:uas("10.0.1.1", "gw1"), net:uas("10.0.1.2", "gw2")
    alice = net:uac "192.0.2.7"
    net:run(5)
  end)

  after_each(function() net:finish() end)

  -- So many calls, one every `pause` seconds and hung up at once; how many each got.
  local function calls(n, pause)
    local got = { gw1 = 0, gw2 = 0, refused = 0 }
    for _ = 1, n do
      local call = alice:call(number)
      local who = call.code == 200 and call.server or "refused"
      got[who] = got[who] + 1
      if call.code == 200 then alice:bye(call):wait() end
      net:run(pause)
    end
    return got
  end

  it("gives the larger gateway twice the calls of the other", function()
    local got = calls(150, 0.2)
    assert.equal(0, got.refused)
    assert.near(100, got.gw1, 12)
  end)

  it("tries the other gateway in the same call", function()
    gw1:silence()
    gw2:silence()
    assert.equal(500, alice:call(number).code)
    gw2:resume()
    local call = alice:call(number)
    assert.equal("gw2", call.server)
    assert(call.elapsed < 3.1)
  end)

  it("says 503 and when to come back while both have all the calls they can begin", function()
    local waiting = {}
    for i = 1, 60 do waiting[i] = alice:invite(number) end
    net:run(0.5)
    local refused = 0
    for _, call in ipairs(waiting) do
      if call.code == 503 then
        refused = refused + 1
        assert.equal("All gateways busy", call.reason)
        assert.equal("5", call.headers["Retry-After"])
        assert.same({}, call.tried)
      end
    end
    assert.equal(60 - 30 - 15, refused)
    net:run(3)
    assert.equal(200, alice:call(number).code)
  end)

  it("never has more calls at a gateway than it can carry", function()
    for _ = 1, 400 do
      alice:invite(number)
      alice:invite(number)
      net:run(0.1)
    end
    assert.equal(480, net.pools.gw.gw1.calls)
    assert.equal(240, net.pools.gw.gw2.calls)
    assert.equal(503, alice:call(number).code)
    assert.equal(720, #gw1:got "ACK" + #gw2:got "ACK")
  end)

  it("lets a gateway that came back begin with few calls", function()
    gw1:power_off()
    net:run(10)
    assert.equal(0, calls(10, 0.1).gw1)
    gw1:resume()
    net:run_until(function() return net.pools.gw.gw1.status == "up" end, 120)
    local first = calls(60, 0.1).gw1
    net:run(60)
    local later = calls(60, 0.1).gw1
    assert(first < later / 2, first .. " at first, " .. later .. " later")
  end)

  it("answers other methods itself", function()
    assert.equal(405, alice:ask("MESSAGE", number).code)
  end)
end)
