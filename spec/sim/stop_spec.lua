-- A proxy that is told to end leaves nobody ringing.
local sim = require "support.sim"
local wire = require "support.wire"

sim.for_workers("a proxy that ends", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  local function open(handler)
    net, a, b, alice = wire.world { workers = workers, handler = handler or wire.single }
  end

  local function stop()
    net.nodes[1]:stop()
    net:run(40)
  end

  it("cancels what rings and answers 503", function()
    open()
    a:ring(30)
    local call = alice:invite "sip:bob@example.com"
    net:run(2)
    assert.equal("ringing", call.state)
    stop()
    assert.equal(1, #a:got "CANCEL")
    assert.equal(503, call.code)
    assert.near(2, call.elapsed, 0.1)
  end)

  it("answers 503 where no server has answered yet", function()
    open()
    a:silence()
    local call = alice:invite "sip:bob@example.com"
    local message = alice:request("MESSAGE", "sip:bob@example.com")
    net:run(0.5)
    stop()
    assert.same({}, a:got "CANCEL") -- RFC 3261 9.1: not before a provisional
    assert.equal(503, call.code)
    assert.equal(503, message.code)
  end)

  it("cancels every branch of a fork", function()
    open "local res = req:fork { a, b } if res then return res:forward() end"
    a:ring(30)
    b:ring(30)
    local call = alice:invite "sip:bob@example.com"
    net:run(2)
    stop()
    assert.equal(1, #a:got "CANCEL")
    assert.equal(1, #b:got "CANCEL")
    assert.equal(503, call.code)
  end)

  it("answers a cancelled call 487", function()
    open()
    a:on("CANCEL", function() end)
    a:ring(30)
    local call = alice:invite "sip:bob@example.com"
    net:run(2)
    alice:cancel(call)
    net:run(0.01)
    stop()
    assert.equal(487, call.code)
  end)

  it("writes one line for a request whose script had ended", function()
    open()
    a:on("CANCEL", function() end)
    a:ring(30)
    local call = alice:invite "sip:bob@example.com"
    net:run(2)
    alice:cancel(call)
    net:run(0.01)
    stop()
    assert.equal(1, net:count("request", { method = "INVITE", code = 487 }))
  end)

  it("leaves an answered call alone", function()
    open()
    local call = alice:call "sip:bob@example.com"
    assert.equal("up", call.state)
    stop()
    assert.equal("up", call.state)
    assert.same({}, a:got "BYE")
    assert.same({}, a:got "CANCEL")
  end)
end)
