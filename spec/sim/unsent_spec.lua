-- What waits for a connection has not been sent: who gives it up meanwhile takes it back
-- (semantics 3: no branch starts after the CANCEL), and what never left is no visit of its
-- target (semantics 19).
local sim = require "support.sim"
local wire = require "support.wire"
local assert, ipairs = assert, ipairs

local uri = "sip:bob@example.com"

local script = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", { servers = {
  { name = "a", uri = "sip:10.0.0.1;transport=tcp", tier = 1 },
  { name = "b", uri = "sip:10.0.0.2", tier = 2 },
}, check = false, passive = { fall = 1000 } })
local a, b = pbx:server "a", pbx:server "b"
local _ = b
sip.route(function(req)
%s
end)
]]

sim.for_workers("an INVITE that waits for its connection", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  -- A connection to a takes a second until it is up.
  local function open(handler, delay)
    net = sim.new {
      source = script:format(handler), workers = workers, seed = 3, key = "0123456789abcdef",
    }
    a, b = net:uas("tcp:10.0.0.1", "a"), net:uas("10.0.0.2", "b")
    alice = net:uac("192.0.2.7", "alice")
    net:link(net.nodes[1], a, { delay = delay or 0.5 })
  end

  it("does not leave when it has been given up for another server", function()
    open "return req:relay(pbx, { timeout = 0.3 })"
    local call = alice:call(uri)
    assert.equal(200, call.code)
    assert.equal(1, #b:got "INVITE")
    net:run(5)
    assert.equal(1, net:count("flow.up", { peer = "10.0.0.1:5060" }))
    assert.same({}, a.received)
    alice:bye(call)
    net:run(1)
  end)

  it("does not leave when its caller has hung up", function()
    open "return req:relay(pbx)"
    local call = alice:invite(uri)
    net:run(0.5)
    alice:cancel(call)
    net:run(0.1)
    assert.equal(487, call.code)
    net:run(5)
    assert.equal(1, net:count("flow.up", { peer = "10.0.0.1:5060" }))
    assert.same({}, a.received)
  end)

  it("does not leave when the connection before was dead", function()
    open("return req:relay(pbx, { timeout = 0.3 })", 0.01)
    assert.equal(200, alice:ask("MESSAGE", uri).code)
    a:power_off()
    a:resume()
    net:link(net.nodes[1], a, { delay = 0.1 })
    local call = alice:call(uri)
    assert.equal(200, call.code)
    assert.equal(1, #b:got "INVITE")
    net:run(5)
    assert.equal(2, net:count("flow.up", { peer = "10.0.0.1:5060" }))
    assert.equal(0, #a:got "INVITE")
    alice:bye(call)
    net:run(1)
  end)

  -- Its branch is that of the process before, and so is the answer.
  it("does not leave when the answer to an earlier process is there before", function()
    open "return req:relay(pbx)"
    local one = net.nodes[1]
    net:link(one, a, { delay = 0.01 })
    a:on("INVITE", function(_, reply) a:after(0.6, function() reply(480) end) end)
    local call = alice:invite(uri)
    net:run(0.1)
    one:crash()
    one:start()
    a:connect "tcp:10.0.0.100"
    net:run(0.1)
    net:link(one, a, { delay = 0.001 })
    net:link(one, a, { delay = 0.2, oneway = true }) -- to a
    net:run(10)
    assert.equal(480, call.code)
    assert.equal(1, #wire.branches(a:got "INVITE"))
    assert.equal(1, #a:got "INVITE")
    assert.equal(1, #a:got "ACK")
  end)

  it("and so does a CANCEL, whose INVITE has its final before", function()
    open("return req:relay(pbx)", 0.01)
    local one = net.nodes[1]
    a:on("INVITE", function(_, reply)
      reply(180)
      a:after(0.3, function() reply(486) end)
    end)
    local call = alice:invite(uri)
    net:run(0.2)
    a:reset() -- its 486 comes over a connection of its own
    a:connect "tcp:10.0.0.100"
    net:run(0.05)
    net:link(one, a, { delay = 0.001 })
    net:link(one, a, { delay = 0.3, oneway = true }) -- to a
    alice:cancel(call)
    net:run(5)
    assert.equal(487, call.code)
    assert.equal(0, #a:got "CANCEL")
    assert.equal(1, #a:got "ACK")
  end)

  it("is no visit when the connection never came up", function()
    local branches = {}
    for i, handler in ipairs {
      "return req:try(a):forward()",
      "req:try(a); sip.sleep(0.1); return req:try(a):forward()",
    } do
      open(handler, 0.01)
      if i == 2 then
        a:refuse()
        net:after(0.05, function() a:resume() end)
      end
      local call = alice:call(uri, { call_id = "c1", branch = "z9hG4bK1", from_tag = "t1" })
      assert.equal(200, call.code)
      assert.equal("a", call.server)
      assert.equal(1, #a:got "INVITE")
      branches[i] = a:got("INVITE")[1].branch
      assert.equal(i - 1, net:count("flow.down", { cause = "refused" }))
      alice:bye(call)
      net:run(1)
      sim.finish()
    end
    assert.equal(branches[1], branches[2])
  end)
end)
