-- The INVITE client transaction on the wire: RFC 3261 17.1.1 with RFC 6026.
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

sim.for_workers("the INVITE client", function(workers)
  after_each(sim.finish)

  local net, a, alice, _

  local function open(opts)
    opts.workers = workers
    net, a, _, alice = wire.world(opts)
  end

  it("retransmits at T1*2^k until Timer B (17.1.1.2)", function()
    open { handler = wire.single }
    a:silence()
    local call = alice:call(uri)
    assert.same({ 0.002, 0.502, 1.502, 3.502, 7.502, 15.502, 31.502 },
      wire.times(a:got "INVITE"))
    assert.equal(500, call.code)
    assert.equal(32.002, call.elapsed)
    assert.equal("pbx/a:silent:32.00", net.events[#net.events].tried)
    net:run(40)
    assert.equal(7, #a.received)
  end)

  it("repeats the same bytes, each time as many (17.1.1.2)", function()
    open { handler = wire.single }
    a:silence()
    alice:invite(uri)
    net:run(10)
    local copies = a:got "INVITE"
    assert.equal(5, #copies)
    for i = 2, #copies do
      assert.equal(copies[1].bytes, copies[i].bytes)
    end
    assert.equal(4, net:metric("tandem_retransmissions_total", { direction = "out" }))
  end)

  for _, code in ipairs { 100, 180 } do
    it("stops retransmitting at a " .. code .. ", and Timer B with it", function()
      open { handler = wire.single }
      a:on("INVITE", function(_, reply)
        a:after(0.7, function() reply(code) end)
        a:after(100, function() reply(200) end)
      end)
      local call = alice:call(uri)
      assert.same({ 0.002, 0.502 }, wire.times(a:got "INVITE"))
      assert.equal(200, call.code)
      assert.near(100, call.elapsed, 0.01)
    end)
  end

  it("retransmits by the timers of the settings", function()
    open {
      handler = "local res = req:try(a, { timeout = 30 }) "
        .. "if res then return res:forward() end return req:reply(500)",
      before = "sip.settings { timers = { t1 = 0.1, t2 = 0.4 } }", t1 = 10,
    }
    a:silence()
    local call = alice:call(uri)
    assert.same({ 0.002, 0.102, 0.302, 0.702, 1.502, 3.102, 6.302 },
      wire.times(a:got "INVITE"))
    assert.near(6.402, call.elapsed, 0.001) -- Timer B: 64 * 0.1
    assert.equal(500, call.code)
  end)

  it("ACKs a refusal in the millisecond it comes, before the script runs", function()
    open { handler = [[
      local res = req:try(a)
      sip.sleep(1)
      return res:forward() ]] }
    a:answer("INVITE", 486)
    alice:call(uri)
    assert.ladder(net, [[
      0.000 alice INVITE -> proxy
      0.001 proxy INVITE -> a
      0.002 a     486    -> proxy
      0.003 proxy ACK    -> a
      0.201 proxy 100    -> alice
      1.003 proxy 486    -> alice
      1.004 alice ACK    -> proxy
    ]])
  end)

  it("ACKs every repetition of a refusal with the same bytes until Timer D", function()
    -- What comes after that would pass for what answers another node's request.
    open { handler = wire.single, before = "sip.settings { stateless_relay = false }" }
    local refusal
    a:on("INVITE", function(_, reply)
      reply(486)
    end)
    local call = alice:call(uri)
    net:run(0.1)
    refusal = net:packets()[3].bytes
    assert.matches("^SIP/2.0 486", refusal)
    for _, at in ipairs { 1, 20, 31.9 } do
      net:run(at - net.now)
      a:send(refusal)
    end
    net:run(0.1)
    local acks = a:got "ACK"
    assert.equal(4, #acks)
    for i = 2, 4 do
      assert.equal(acks[1].bytes, acks[i].bytes)
    end
    assert.equal(1, #alice:got(486), "the repetitions stay here")
    net:run(1) -- Timer D: 32 s after the first
    a:send(refusal)
    net:run(1)
    assert.equal(4, #a:got "ACK")
    assert.equal(486, call.code)
    assert.equal(1, net:metric("tandem_dropped_total", { reason = "stray_response" }))
  end)

  it("takes no provisional after the final (17.1.1.2)", function()
    open { handler = wire.single }
    a:answer("INVITE", 486)
    alice:call(uri)
    a:send((net:packets()[3].bytes:gsub("^SIP/2.0 486 Busy Here", "SIP/2.0 180 Ringing")))
    net:run(1)
    assert.equal(0, #alice:got(180))
    assert.equal(1, net:metric("tandem_dropped_total", { reason = "stray_response" }))
  end)

  it("takes no refusal after a 2xx, and does not ACK it (RFC 6026 8.5)", function()
    open { handler = wire.single }
    local call = alice:call(uri)
    net:run(1)
    a:send((call.response.bytes:gsub("^SIP/2.0 200 OK", "SIP/2.0 486 Busy Here")
      :gsub("\r\nVia: ", "\r\nVia: " .. a:got("INVITE")[1]:list("Via")[1] .. "\r\nVia: ", 1)))
    net:run(1)
    assert.equal(0, #alice:got(486))
    assert.equal(1, #a:got "ACK") -- that of the 2xx
    assert.equal(1, net:metric("tandem_dropped_total", { reason = "late_final" }))
  end)

  it("ends at once when a retransmission cannot be delivered (checklist 28)", function()
    open {}
    a:silence()
    local call = alice:invite(uri)
    net:run(0.3)
    a:refuse()
    call:wait()
    assert.same({ "a", "b" }, call.tried)
    assert.equal("b", call.server)
    assert.ladder(call, [[
      0.000 alice INVITE    -> proxy
      0.001 proxy INVITE    -> a
      0.201 proxy 100       -> alice
      0.501 proxy INVITE    -x a
      0.502 a     icmp_port -> proxy
      0.503 proxy INVITE    -> b
      0.504 b     200       -> proxy
      0.505 proxy 200       -> alice
      0.506 alice ACK       -> proxy
    ]])
  end)
end)
