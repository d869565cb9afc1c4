-- Semantics 19 and 20: messages of transactions that a node began which is no more.
local sim = require "support.sim"
local why = require "support.why"
local ipairs, error = ipairs, error

local uri, key, vip = "sip:bob@example.com", "0123456789abcdef", "10.0.0.100"

local script = [[
local sip = require "tandem"
sip.listen {
  "udp:10.0.0.100:5060", "udp:10.0.0.101:5060", "udp:10.0.0.102:5060",
  "tcp:10.0.0.100:5060", "tcp:10.0.0.101:5060", "tcp:10.0.0.102:5060",
}
local pbx = sip.pool("pbx", { servers = {
  { name = "a", uri = "sip:10.0.0.1" }, { name = "b", uri = "sip:10.0.0.2", tier = 2 },
}, check = false })
%s
sip.route(function(req)
  if not req:relay(pbx, { timeout = 2 }) then return req:reply(500) end
end)
]]

sim.for_workers("after the death of a node", function(workers)
  after_each(sim.finish)

  local net, one, two, a, b, alice

  local function open(more)
    net = sim.new {
      source = script:format(more or ""), workers = workers, key = key,
      addr = { "10.0.0.101", vip },
    }
    one, two = net.nodes[1], net:node { addr = { "10.0.0.102" }, key = key }
    a, b = net:uas("10.0.0.1", "a"), net:uas("10.0.0.2", "b")
    alice = net:uac("192.0.2.7", { name = "alice", proxy = vip .. ":5060" })
  end

  local function take_over()
    one:power_off()
    two:take(vip)
  end

  local function relayed(kind)
    return two:metric("tandem_takeover_messages_total", { kind = kind })
  end

  -- RFC 3261 16.7 step 1, RFC 6026 7.3
  it("the other one passes on 180, 200 and what follows", function()
    open()
    a:ring(5)
    local call = alice:invite(uri)
    net:run(1)
    take_over()
    a:on("INVITE", nil)
    net:run(10)
    assert.equal(200, call.code)
    assert.equal(1, relayed "answer")
    net:run(1)
    assert.equal(1, #a:got "ACK")
    alice:bye(call)
    net:run(1)
    assert.equal(1, #a:got "BYE")
    assert.equal(1, #a:got "INVITE")
    assert.same({}, b.received)
  end)

  it("the other one passes on a failure, ACKs it and repeats it until its ACK", function()
    open()
    a:answer("INVITE", 486, nil, 3)
    local call = alice:invite(uri)
    net:run(1)
    take_over()
    net:run(40)
    assert.equal(486, call.code)
    assert.equal(1, #a:got "ACK")
    assert.equal(a:got("INVITE")[1].branch, a:got("ACK")[1].branch)
    assert.equal(1, relayed "failure")
    local record = why.all(net, { call_id = call.id }, two)[1]
    assert.is_true(record.takeover)
    assert.equal(486, record.code)
  end)

  -- RFC 3261 16.10
  it("a CANCEL reaches the server, whose 487 goes up", function()
    open()
    a:ring(60)
    local call = alice:invite(uri)
    net:run(1)
    take_over()
    alice:cancel(call)
    net:run(1)
    assert.equal(487, call.code)
    assert.equal(200, call.cancel.code)
    assert.equal(1, #a:got "CANCEL")
    assert.equal(a:got("INVITE")[1].branch, a:got("CANCEL")[1].branch)
    assert.equal(1, #b:got "CANCEL") -- it might have been there
    assert.equal(1, #a:got "ACK")
    net:run(40)
  end)

  -- RFC 6026 7.3, 8.9; RFC 4320 4.3
  it("a CANCEL reaches a server that was called by TCP for the size", function()
    open()
    a = net:uas("tcp:10.0.0.1", "a/tcp")
    a:ring(60)
    local call = alice:invite(uri, { body = ("x"):rep(1400) })
    net:run(1)
    assert.equal("tcp", a:got("INVITE")[1].transport)
    take_over()
    alice:cancel(call)
    net:run(1)
    assert.equal(200, call.cancel.code)
    assert.equal(1, #a:got "CANCEL")
    assert.equal(a:got("INVITE")[1].branch, a:got("CANCEL")[1].branch)
    net:run(40)
  end)

  it("passes nothing on when it is not to", function()
    open "sip.settings { stateless_relay = false }"
    a:answer("INVITE", 486, nil, 3)
    local call = alice:invite(uri)
    net:run(1)
    take_over()
    net:run(40)
    assert.is_nil(call.code)
    assert.is_true(two:metric("tandem_dropped_total", { reason = "stray_response" }) > 0)
  end)

  -- The 180 of a server as it was, but for what `change` makes of it.
  local function ring_again(change)
    for _, packet in ipairs(net:packets()) do
      if packet.from == "10.0.0.1:5060" and packet.bytes:find("^SIP/2.0 180") then
        local bytes, n = change(packet.bytes)
        assert.equal(1, n)
        a:send(bytes)
        return
      end
    end
    error "nothing rang"
  end

  it("passes nothing on that was changed where it is signed", function()
    open()
    a:ring(60)
    local call = alice:invite(uri)
    net:run(1)
    take_over()
    for _, change in ipairs {
      function(bytes) return bytes:gsub("(branch=z9hG4bK1%x%x)%x%x", "%100", 1) end,
      function(bytes) return bytes:gsub("Call%-ID: ", "Call-ID: x") end,
      function(bytes) return bytes:gsub("CSeq: 1 ", "CSeq: 2 ") end,
      function(bytes) return bytes:gsub("(From: [^\r]*tag=)", "%1x") end,
      function(bytes) return bytes:gsub("received=192.0.2.7", "received=192.0.2.8") end,
    } do
      ring_again(change)
    end
    local before = #alice.received
    net:run(1)
    assert.equal(before, #alice.received)
    assert.equal(5, two:metric("tandem_dropped_total", { reason = "forged_branch" }))
    assert.equal(0, relayed "provisional")
    ring_again(function(bytes) return bytes, 1 end)
    net:run(1)
    assert.equal(before + 1, #alice.received)
    assert.equal(1, relayed "provisional")
    alice:cancel(call)
    net:run(40)
  end)

  -- Who is called by whom, for a while, each call answered and ended.
  local function traffic(seconds, rate)
    local calls = {}
    for _ = 1, seconds * rate do
      calls[#calls + 1] = alice:invite(uri)
      net:run(1 / rate)
    end
    net:run(5)
    return calls
  end

  local function branches(server)
    local seen, n = {}, 0
    for _, invite in ipairs(server:got "INVITE") do
      n = n + (seen[invite.branch] and 0 or 1)
      seen[invite.branch] = true
    end
    return n
  end

  local cluster = 'sip.settings { nodes = { "10.0.0.101", "10.0.0.102" } }'

  -- Only the neighbour table of the caller is wrong: what the servers say reaches the
  -- first node, whichever of them asked.
  it("a split brain costs no call and rings nowhere twice, when the nodes are known", function()
    open(cluster)
    a:ring(1)
    net:split(vip, { one, two }, { switch = 0.5, from = alice })
    local calls = traffic(30, 10)
    for _, call in ipairs(calls) do
      assert.equal(200, call.code)
    end
    assert.equal(#calls, branches(a))
    assert.same({}, b.received)
    assert.is_true(one:metric("tandem_takeover_messages_total", { kind = "handed" }) > 100)
  end)

  it("a refusal is the policy's of the node that asked, when that is alive", function()
    open(cluster)
    a:answer("INVITE", 503, nil, 0.1)
    b:answer("INVITE", 200)
    net:split(vip, { one, two }, { switch = 0.5, from = alice })
    for _, call in ipairs(traffic(5, 10)) do
      assert.equal(200, call.code)
    end
  end)

  it("a refusal is passed on when it comes again, since nobody acknowledged it", function()
    open(cluster)
    a:answer("INVITE", 486, nil, 3)
    local call = alice:invite(uri)
    net:run(1)
    take_over()
    net:run(2.1)
    assert.is_nil(call.code)
    net:run(0.5)
    assert.equal(486, call.code)
    assert.equal(1, #a:got "ACK")
    net:run(40)
  end)

  -- The machine of a proxy that was killed says so when it is handed something.
  it("a refusal goes up at once when the other node is known to have died", function()
    open(cluster)
    a:ring(1)
    local calls = { alice:invite(uri) }
    net:run(0.5)
    a:on("INVITE", function(_, reply)
      reply(180)
      a:after(3, function() reply(486) end)
    end)
    calls[2] = alice:invite(uri)
    net:run(0.1)
    one:crash()
    two:take(vip)
    net:run(1)
    assert.equal(200, calls[1].code)
    net:run(2.05)
    assert.equal(486, calls[2].code)
    assert.equal(1, #a:got "ACK" - 1)
    net:run(40)
  end)

  it("what another node hands over is not handed on", function()
    open(cluster)
    a:ring(60)
    local call = alice:invite(uri)
    net:run(1)
    one:crash()
    two:take(vip)
    net:run(0.1)
    one:start()
    net:run(0.5)
    ring_again(function(bytes) return bytes, 1 end)
    net:run(1)
    assert.equal(1, two:metric("tandem_takeover_messages_total", { kind = "handed" }))
    alice:cancel(call)
    net:run(40)
  end)

  describe("whose caller has asked again here", function()
    -- Its repeated INVITE goes to another server: this node has taken the first one out.
    local function ask_again(code)
      open()
      two:ask("order", { pool = "pbx", server = "a", admin = "drain", who = "spec" })
      a:on("INVITE", function(_, reply) a:after(1.2, function() reply(code) end) end)
      b:ring(60)
      local call = alice:invite(uri)
      net:run(0.01)
      take_over()
      net:run(1)
      assert.equal(1, #b:got "INVITE")
      net:run(1)
      return call
    end

    it("an answer goes up, and its own branch is cancelled", function()
      local call = ask_again(200)
      assert.equal(200, call.code)
      assert.equal(1, #a:got "ACK")
      assert.equal(1, #b:got "CANCEL")
      net:run(40)
    end)

    it("a refusal is acknowledged, and no more", function()
      local call = ask_again(486)
      assert.is_nil(call.code)
      assert.equal(1, #a:got "ACK")
      assert.equal(0, #b:got "CANCEL")
      assert.is_true(relayed "absorbed" > 0)
      alice:cancel(call)
      net:run(40)
    end)
  end)
end)
