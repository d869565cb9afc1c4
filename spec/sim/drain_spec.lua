-- A proxy that drains takes nothing new, and lets all that is under way come to its end;
-- TERM drains and ends the process when that has happened.
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

local request = [[
  %s sip:10.0.0.100 SIP/2.0
  Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKdrain
  Max-Forwards: 70
  From: <sip:alice@example.com>;tag=1
  To: <sip:10.0.0.100>
  Call-ID: %s
  CSeq: 1 %s
  Content-Length: 0
]]

sim.for_workers("a proxy that drains", function(workers)
  after_each(sim.finish)

  local net, a, _, alice, node

  local function open(opts)
    opts = opts or {}
    opts.workers = workers
    net, a, _, alice = wire.world(opts)
    node = net.nodes[1]
  end

  -- RFC 3261 20.33, 21.5.4
  it("answers OPTIONS and what begins something 503 with Retry-After", function()
    open()
    node:drain()
    for _, call in ipairs {
      alice:ask("OPTIONS", "sip:10.0.0.100"), alice:ask("REGISTER", uri),
      alice:ask("MESSAGE", uri), alice:call(uri),
    } do
      assert.equal(503, call.code)
      assert.equal("5", call.response:header "Retry-After")
      assert(call.elapsed < 0.01, call.elapsed)
    end
    assert.same({}, a.received)
    assert.equal(4, net:metric "tandem_requests_not_taken_total")
    assert.equal(0, wire.alive(net).requests)
  end)

  it("takes calls again when it is told to", function()
    open()
    node:drain()
    assert.equal(503, alice:call(uri).code)
    node:drain(false)
    assert.equal(200, alice:call(uri).code)
    assert.equal(200, alice:ask("OPTIONS", "sip:10.0.0.100").code)
  end)

  it("asks no script, and gives a repeated request the same answer", function()
    open { handler = "sip.log.info 'asked' return req:reply(480)" }
    node:drain()
    for _, method in ipairs { "INVITE", "OPTIONS" } do
      local bytes = wire.bytes(request:format(method, "again-" .. method, method))
      local before = #alice.received
      alice:send(bytes)
      net:run(0.5)
      alice:send(bytes)
      net:run(0.5)
      assert.equal(before + 2, #alice.received)
      local first, second = alice.received[before + 1], alice.received[before + 2]
      assert.equal(503, first.code)
      assert.truthy(first.to_tag)
      assert.equal(first.bytes, second.bytes)
    end
    assert.equal(0, wire.said(net, "asked"))
    assert.equal(0, wire.alive(net).servers)
  end)

  it("takes the ACK of what it refused for itself", function()
    open()
    node:drain()
    alice:call(uri)
    net:run(1)
    assert.same({}, a.received)
    assert.equal(0, net:metric("tandem_dropped_total", { reason = "stray_ack" }))
  end)

  it("answers a flood as little as any other", function()
    open()
    node:drain()
    for i = 1, 9000 do
      alice:send(wire.bytes(request:format("INVITE", "flood-" .. i, "INVITE")))
    end
    net:run(0.5)
    local limit = workers * 4000 -- and 2000 a second
    assert(#alice.received > 900 and #alice.received <= limit, #alice.received)
    assert.equal(9000 - #alice.received,
      net:metric("tandem_dropped_total", { reason = "error_reply_limit" }))
  end)

  it("lets a call that rings be answered, talk and end", function()
    open { handler = wire.single }
    a:ring(3)
    local call = alice:invite(uri)
    net:run(1)
    node:drain()
    net:run(5)
    assert.equal(200, call.code)
    assert.equal(1, #a:got "ACK")
    local again = alice:reinvite(call)
    net:run(1)
    assert.equal(200, again.code)
    local hold = a:in_dialog(call, "UPDATE")
    net:run(1)
    assert.equal(200, hold.code)
    local bye = alice:bye(call)
    net:run(1)
    assert.equal(200, bye.code)
  end)

  it("lets a call in set-up go on to the next server", function()
    open()
    a:silence()
    local call = alice:invite(uri)
    net:run(1)
    node:drain()
    net:run(5)
    assert.same({ "a", "b" }, call.tried)
    assert.equal(200, call.code)
  end)

  it("lets a call in set-up be cancelled", function()
    open { handler = wire.single }
    a:ring()
    local call = alice:invite(uri)
    net:run(1)
    node:drain()
    alice:cancel(call)
    net:run(1)
    assert.equal(487, call.code)
    assert.equal(1, #a:got "CANCEL")
  end)

  it("absorbs retransmissions of what it took", function()
    open { handler = wire.single }
    a:silence()
    local bytes = wire.bytes(request:format("INVITE", "taken", "INVITE")
      :gsub("sip:10.0.0.100 SIP", uri .. " SIP"))
    alice:send(bytes)
    net:run(0.1)
    node:drain()
    alice:send(bytes)
    net:run(0.3)
    assert.same({}, alice:got(503))
    assert.equal(1, #wire.branches(a:got "INVITE"))
    a:resume()
    node:stop()
    net:run(1)
  end)

  it("refuses over TCP on the connection the request came on", function()
    open { source = (wire.script():gsub('"(udp)(:0.0.0.0:5060)"', '"udp%2", "tcp%2"')) }
    local carol = net:uac("tcp:192.0.2.8", { proxy = "tcp:10.0.0.100:5060" })
    local up = carol:call(uri)
    assert.equal(200, up.code)
    node:drain()
    assert.equal(503, carol:call(uri).code)
    assert.equal(1, #carol:connections())
    local dave = net:uac("tcp:192.0.2.9", { proxy = "tcp:10.0.0.100:5060" })
    assert.equal(503, dave:ask("OPTIONS", "sip:10.0.0.100").code)
    local bye = carol:bye(up)
    net:run(1)
    assert.equal(200, bye.code)
  end)

  it("lets a request in a dialog through to a server that was never asked before", function()
    open()
    node:drain()
    local call = alice:ask("INVITE", "sip:10.0.0.1", { route = { "<sip:10.0.0.100;lr>" },
      headers = { To = "<sip:bob@example.com>;tag=known" } })
    assert.are_not.equal(503, call.code)
  end)

  it("goes on checking its servers", function()
    open { source = wire.script():gsub("check = false", "check = { interval = 2 }") }
    net:run(5)
    node:drain()
    local before = #a:got "OPTIONS"
    net:run(10)
    assert(#a:got "OPTIONS" >= before + 4)
    a:crash()
    net:run(10)
    assert.equal("down", net.pools.pbx.a.status)
    assert.equal("up", net.pools.pbx.b.status)
  end)

  it("keeps draining when a new script takes over", function()
    open()
    node:drain()
    assert(node:reload())
    assert.equal(503, alice:call(uri).code)
  end)

  it("says so first, and takes calls until those who ask have heard it", function()
    open { before = "sip.settings { drain_notice = 5 }" }
    node:drain()
    for _ = 1, 4 do
      assert.equal(503, alice:ask("OPTIONS", "sip:10.0.0.100").code)
      assert.equal(200, alice:call(uri).code)
      net:run(1)
    end
    net:run(1)
    assert.equal(503, alice:call(uri).code)
    node:drain(false)
    assert.equal(200, alice:ask("OPTIONS", "sip:10.0.0.100").code)
    assert.equal(200, alice:call(uri).code)
    node:drain() -- it is said again
    assert.equal(200, alice:call(uri).code)
    net:run(6)
    assert.equal(503, alice:call(uri).code)
  end)

  it("says how much there is to wait for", function()
    open { handler = wire.single }
    local function load()
      local sum = { requests = 0, calls = 0 }
      for worker = 1, workers do
        local one = node:ask("load", nil, worker)
        sum.requests = sum.requests + one.requests
        sum.calls = sum.calls + one.calls
      end
      return sum
    end
    a:ring(3)
    local call = alice:invite(uri)
    net:run(1)
    assert.same({ requests = 1, calls = 0 }, load())
    net:run(5)
    assert.same({ requests = 0, calls = 1 }, load())
    alice:bye(call)
    net:run(1)
    assert.same({ requests = 0, calls = 0 }, load())
  end)
end)

sim.for_workers("TERM", function(workers)
  after_each(sim.finish)

  local net, a, b, alice, node

  local function open(opts)
    opts = opts or {}
    opts.workers = workers
    net, a, b, alice = wire.world(opts)
    node = net.nodes[1]
  end

  -- Seconds until the process has ended, at most `max`.
  local function ends(max)
    local start = net.now
    net:run_until(function() return node.workers == 0 end, max, 0.05)
    return net.now - start
  end

  it("ends a proxy that does nothing at once", function()
    open()
    net:run(10)
    node:term()
    assert.equal(0, node.workers)
  end)

  it("is there until everybody who asks has heard that it drains", function()
    open { before = "sip.settings { drain_notice = 5 }" }
    net:run(10)
    node:term()
    assert.equal(503, alice:ask("OPTIONS", "sip:10.0.0.100").code)
    assert.near(5, ends(60), 0.2)
  end)

  it("does not wait for calls whose address has gone to another machine", function()
    local key = "0123456789abcdef"
    open { handler = wire.single, addr = { "10.0.0.100", "10.0.0.200" }, key = key,
      source = wire.script(wire.single):gsub("udp:0.0.0.0:5060", "udp:10.0.0.200:5060"),
    }
    local other = net:node { addr = "10.0.0.101", key = key }
    local carol = net:uac("192.0.2.8", { proxy = "10.0.0.200:5060" })
    net:run(5)
    a:ring(8)
    local call = carol:invite(uri)
    net:run(1)
    node:drop "10.0.0.200"
    other:take "10.0.0.200"
    node:term()
    assert.near(0, ends(60), 0.2)
    net:run(10)
    assert.equal(200, call.code)
    assert.equal(1, #a:got "ACK")
    assert.same({}, a:got "CANCEL")
  end)

  it("waits until the calls in set-up are answered and acknowledged", function()
    open { handler = wire.single }
    net:run(5)
    a:ring(8)
    local call = alice:invite(uri)
    net:run(1)
    node:term()
    assert.near(9, ends(60), 0.2) -- 7 s of ringing and 2 s for its ACK
    assert.equal(200, call.code)
    assert.equal(1, #a:got "ACK")
    assert.same({}, a:got "CANCEL")
  end)

  it("has time for a 2xx that is lost twice", function()
    open { handler = wire.single }
    net:run(5)
    a:ring(8)
    local call = alice:invite(uri)
    net:run(7)
    node:term()
    net:partition("10.0.0.100", alice, { oneway = true })
    net:run(2.2) -- sent after 8 s, 8.5 s, 9.5 s
    assert.is_nil(call.code)
    net:heal()
    assert.near(0.8, ends(60), 0.2)
    assert.equal(200, call.code)
    assert.equal(1, #a:got "ACK")
  end)

  it("lets failover happen meanwhile", function()
    open()
    net:run(5)
    a:silence()
    b:ring(1)
    local call = alice:invite(uri)
    net:run(1)
    node:term()
    ends(60)
    assert.same({ "a", "b" }, call.tried)
    assert.equal(200, call.code)
    assert.equal(1, #b:got "ACK")
  end)

  it("does not wait longer than stop_timeout, and answers what is left", function()
    open { handler = wire.single, before = "sip.settings { stop_timeout = 12 }" }
    net:run(5)
    a:ring()
    local call = alice:invite(uri)
    net:run(1)
    node:term()
    assert.near(12, ends(60), 0.1)
    net:run(1)
    assert.equal(503, call.code)
    assert.equal(1, #a:got "CANCEL")
  end)

  it("waits for 30 seconds unless the script says else", function()
    open { handler = wire.single }
    net:run(5)
    a:ring()
    alice:invite(uri)
    net:run(1)
    node:term()
    assert.near(30, ends(60), 0.1)
  end)

  it("does not wait at all with stop_timeout = 0", function()
    open { handler = wire.single, before = "sip.settings { stop_timeout = 0 }" }
    net:run(5)
    a:ring()
    local call = alice:invite(uri)
    net:run(1)
    node:term()
    assert.equal(0, node.workers)
    net:run(1)
    assert.equal(503, call.code)
  end)

  it("does not wait for calls that are up, nor long for what they say", function()
    open()
    net:run(5)
    local call = alice:call(uri)
    assert.equal(200, call.code)
    net:run(10)
    a:on("INFO", function() end) -- which no phone answers
    alice:in_dialog(call, "INFO")
    net:run(0.5)
    node:term()
    local took = ends(60)
    assert(took < 5, took)
    assert.same({}, a:got "BYE")
    net:run(40)
  end)

  it("waits for an answer of the script's own to be acknowledged", function()
    open { handler = [[
      return req:reply(200, "Fine", { headers = { Contact = "<sip:x@10.0.0.100>" } }) ]] }
    net:run(5)
    local call = alice:invite(uri, { ack = false })
    net:run(4)
    node:term()
    net:run(3)
    assert.equal(workers, node.workers)
    alice:ack(call)
    ends(1)
    assert.equal(0, node.workers)
  end)

  it("runs sip.on(\"stop\") once", function()
    open { handler = wire.single, before = [[
      sip.on("stop", function() sip.log.info "stops" end) ]] }
    net:run(5)
    a:ring(3)
    alice:invite(uri)
    net:run(1)
    node:term()
    net:run(1)
    assert.equal(0, wire.said(net, "stops"))
    ends(60)
    assert.equal(1, wire.said(net, "stops"))
  end)

  it("leaves a call that is up to the process that follows", function()
    open { key = ("k"):rep(16) }
    net:run(5)
    a:ring(1)
    local call = alice:invite(uri)
    net:run(0.5)
    node:term()
    ends(60)
    node:start()
    assert.equal(200, call.code)
    local bye = alice:bye(call)
    net:run(1)
    assert.equal(200, bye.code)
    assert.equal(1, #a:got "BYE")
  end)
end)
