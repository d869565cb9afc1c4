-- What outlives a request: the server record, the client record and the stub, for as
-- long as RFC 3261 and RFC 6026 say, and then nothing (src/transaction/txn.h). A server
-- that is over stays in memory, unmatched, until its last client is gone.
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

sim.for_workers("what a request leaves behind", function(workers)
  after_each(sim.finish)

  local net, a, b, alice, before

  local function open(opts)
    opts = opts or {}
    opts.workers = workers
    net, a, b, alice = wire.world(opts)
    before = wire.alive(net).bytes
  end

  -- Requests, servers and clients that live at that time.
  local function at(time)
    net:run(time - net.now)
    local alive = wire.alive(net)
    return { alive.requests, alive.servers, alive.clients }
  end

  -- Calls that nobody hung up are followed on (calls_spec.lua): they are not meant.
  local function assert_nothing()
    net.nodes[1]:let_go()
    local alive = wire.alive(net)
    assert.same({ 0, 0, 0 }, { alive.requests, alive.servers, alive.clients })
    assert.equal(before, alive.bytes)
  end

  it("while it lives is one context, one server and a client for each attempt", function()
    open()
    a:silence()
    b:ring(5)
    alice:invite(uri)
    assert.same({ 1, 1, 1 }, at(1))
    assert.same({ 1, 1, 2 }, at(3))
    assert(wire.alive(net).bytes > before)
    assert.same({ 0, 1, 2 }, at(8)) -- answered at 7.004: no context, records
    at(40)
    assert_nothing()
  end)

  it("a server record: a refused INVITE with its ACK, Timer I", function()
    open { handler = "return req:reply(486)" }
    alice:call(uri) -- ACK at 0.003
    assert.same({ 0, 1, 0 }, at(5.002))
    assert.same({ 0, 0, 0 }, at(5.004))
    assert_nothing()
  end)

  it("a server record: a refused INVITE without ACK, Timer H", function()
    open { handler = "return req:reply(486)" }
    alice:invite(uri, { ack = false })
    assert.same({ 0, 1, 0 }, at(32))
    assert.same({ 0, 0, 0 }, at(32.002))
    assert_nothing()
  end)

  it("a server record: another method, Timer J", function()
    open { handler = "return req:reply(404)" }
    alice:ask("MESSAGE", uri)
    assert.same({ 0, 1, 0 }, at(32))
    assert.same({ 0, 0, 0 }, at(32.002))
    assert_nothing()
  end)

  it("a client record: a refusal, Timer D", function()
    open { handler = wire.single }
    a:answer("INVITE", 486)
    alice:call(uri) -- 486 at 0.003
    assert.same({ 0, 1, 1 }, at(32.002))
    assert.same({ 0, 0, 0 }, at(32.004))
    assert_nothing()
  end)

  it("a client record: the answer to another method, Timer K", function()
    open { handler = wire.single }
    alice:ask("MESSAGE", uri)
    assert.same({ 0, 1, 1 }, at(5.002))
    assert.same({ 0, 1, 0 }, at(5.004))
    assert.same({ 0, 0, 0 }, at(32.004))
    assert_nothing()
  end)

  it("a call: Timers L and M", function()
    open { handler = wire.single }
    alice:call(uri)
    assert.same({ 0, 1, 1 }, at(32.002))
    assert.same({ 0, 0, 0 }, at(32.004))
    assert_nothing()
  end)

  it("a stub: 64*T1 after the attempt was given up", function()
    open()
    a:silence()
    alice:call(uri) -- given up at 2.001, answered by b at 2.003
    assert.same({ 0, 1, 2 }, at(34))
    assert.same({ 0, 1, 1 }, at(34.002))
    assert.same({ 0, 0, 0 }, at(34.004))
    assert_nothing()
  end)

  it("a stub that cancelled: 64*T1 after its CANCEL, if nothing comes", function()
    open { handler = "req:try(a, { progress_timeout = 1 }) return req:reply(480)" }
    a:on("INVITE", function(_, reply)
      reply(100)
    end)
    a:on("CANCEL", function(_, reply)
      reply(200)
    end)
    alice:call(uri) -- 100 at 0.003, CANCEL at 1.003, its 200 at 1.005
    assert.same({ 0, 1, 2 }, at(6))
    assert.same({ 0, 1, 1 }, at(6.006)) -- Timer K of the CANCEL
    assert.same({ 0, 1, 1 }, at(33.002))
    assert.same({ 0, 0, 0 }, at(33.004))
    assert_nothing()
  end)

  it("a stub that heard a provisional late: 64*T1 from then on", function()
    open { handler = "req:try(a, { timeout = 1 }) return req:reply(500)" }
    a:on("INVITE", function(_, reply)
      a:after(20, function() reply(180) end)
      a:after(50, function() reply(487) end)
    end)
    a:on("CANCEL", function(_, reply)
      reply(200)
    end)
    alice:call(uri) -- CANCEL at 20.003
    at(52)
    assert.equal("INVITE INVITE CANCEL ACK", wire.names(a.received))
    assert.same({ 0, 1, 1 }, at(82.002))
    assert.same({ 0, 0, 0 }, at(82.004))
    assert_nothing()
  end)

  it("a stub that was answered: a client record from then on", function()
    open { handler = "req:try(a, { timeout = 1 }) return req:reply(500)" }
    a:answer("INVITE", 486, nil, 20)
    alice:call(uri)
    assert.same({ 0, 1, 1 }, at(52.002)) -- ACKed at 20.003
    assert.same({ 0, 0, 0 }, at(52.004))
    assert_nothing()
  end)

  it("a stub of another method than INVITE", function()
    open { handler = "req:try(a, { timeout = 1 }) return req:reply(500)" }
    a:silence()
    alice:ask("MESSAGE", uri)
    assert.same({ 0, 1, 1 }, at(33))
    assert.same({ 0, 0, 0 }, at(33.002))
    assert_nothing()
  end)

  it("is little: what waits for the script goes with the context", function()
    open { handler = wire.single }
    a:answer("INVITE", 486, nil, 1)
    local call = alice:invite(uri, { headers = { ["X-Long"] = ("x"):rep(8000) } })
    at(0.5)
    local living = wire.alive(net).bytes - before
    assert(living > 8000, living)
    call:wait()
    net:run(0.1)
    local records = wire.alive(net).bytes - before
    assert(records < 3000, records)
    at(40)
    assert_nothing()
  end)

  it("a stub keeps what a CANCEL or ACK needs, not the whole request", function()
    open()
    a:silence()
    alice:call(uri, { headers = { ["X-Long"] = ("x"):rep(8000) } })
    net:run(0.1)
    assert.same({ 0, 1, 2 }, at(net.now))
    local records = wire.alive(net).bytes - before
    assert(records < 4000, records)
    at(40)
    assert_nothing()
  end)

  it("a request that was refused without a transaction: nothing at all", function()
    open { handler = wire.single }
    alice:invite(uri, { headers = { ["Max-Forwards"] = "0" }, ack = false })
    net:run(0.01)
    assert.equal("483", wire.names(alice.received))
    assert_nothing()
  end)

  it("a hundred calls of every kind: nothing once all has run out", function()
    open()
    local n = 0
    a:on("INVITE", function(_, reply)
      n = n + 1
      if n % 5 == 0 then
        reply(503)
      elseif n % 5 == 1 then
        a:after(3, function() reply(200) end) -- late
      elseif n % 5 == 2 then
        reply(180)
        a:after(1, function() reply(n % 2 == 0 and 200 or 486) end)
      elseif n % 5 == 3 then
        reply(100) -- and no more
      end
    end)
    b:answer("INVITE", 200, nil, 0.5)
    for i = 1, 100 do
      local call = alice:invite(uri)
      net:run(0.2)
      if i % 7 == 0 then
        alice:cancel(call)
      end
    end
    net:run(400)
    assert_nothing()
  end)
end)
