-- Semantics 13: who sent a request, and calls in both directions.
local sim = require "support.sim"
local policy = require "support.policy"
local wire = require "support.wire"

local alice_uri = "sip:alice@192.0.2.7"

sim.for_workers("a request from a server", function(workers)
  after_each(sim.finish)

  local w, bob

  local function open(handler, more)
    more = more or {}
    more.workers, more.handler = workers, handler or [[
      say(req.method, req.source.server and req.source.server.name, req.kind)
      return req:relay(pbx)
    ]]
    w = policy.world(more)
    bob = w.net:uac("192.0.2.8", "bob")
  end

  -- RFC 3261 16.5, 16.6 step 7
  it("follows its Request-URI and does not reach the script", function()
    open()
    local call = w.a:call(alice_uri)
    assert.equal("alice", call.server)
    assert.equal("up", call.state)
    assert.same({}, w.said())
    assert.same({ "alice" }, call.tried)
    assert.equal(alice_uri, w.alice:got("INVITE")[1].uri)
  end)

  it("is recognised by its IP address, whatever port it came from", function()
    open()
    local other = w.net:uas("10.0.0.1:6071", "other")
    assert.equal("alice", other:call(alice_uri).server)
    assert.same({}, w.said())
  end)

  it("is recognised so although its server is in two pools", function()
    open(nil, { before = [[
      sip.pool("other", { check = false, servers = { { name = "x", uri = "sip:10.0.0.1" } } })
    ]] })
    local other = w.net:uas("10.0.0.1:6071", "other")
    assert.equal("alice", other:call(alice_uri).server)
    assert.same({}, w.said())
  end)

  it("follows its Route, without our own", function()
    open()
    local call = w.a:invite("sip:carol@example.com", {
      route = { "<sip:10.0.0.100;lr>", "<sip:192.0.2.8;lr>" },
    })
    w.net:run(1)
    assert.equal(200, call.code)
    assert.equal("bob", call.server)
    assert.equal("sip:carol@example.com", bob:got("INVITE")[1].uri)
    assert.same({ "<sip:192.0.2.8;lr>" }, bob:got("INVITE")[1]:list "Route")
  end)

  it("never enters its own pool: for us it is 404", function()
    open()
    local call = w.a:call "sip:alice@10.0.0.100"
    assert.equal(404, call.code)
    assert.same({}, w.said())
    assert.same({}, w.b.received)
  end)

  it("reaches another server when the Request-URI names it", function()
    open()
    local call = w.a:call "sip:carol@10.0.0.2"
    assert.equal("b", call.server)
    assert.same({}, w.said())
  end)

  it("gets 500 when the phone is silent, after 64*T1", function()
    open()
    w.alice:silence()
    local call = w.a:invite(alice_uri)
    w.net:run(40)
    assert.equal(500, call.code)
    assert.near(32, call.elapsed, 0.01)
  end)

  it("gets the phone's refusal as it is, and 503 as 500", function()
    open()
    w.alice:once("INVITE", 486)
    w.alice:once("INVITE", 503)
    assert.equal(486, w.a:call(alice_uri).code)
    assert.equal(500, w.a:call(alice_uri).code)
  end)

  it("can be cancelled", function()
    open()
    w.alice:ring()
    local call = w.a:invite(alice_uri)
    w.net:run(1)
    w.a:cancel(call)
    w.net:run(1)
    assert.equal(487, call.code)
    assert.equal("INVITE CANCEL ACK", wire.names(w.alice.received))
  end)

  it("may be anything else: NOTIFY, MESSAGE, OPTIONS", function()
    open()
    for _, method in ipairs { "MESSAGE", "OPTIONS", "SUBSCRIBE" } do
      local asked = w.a:ask(method, alice_uri)
      assert.equal(200, asked.code)
      assert.equal("alice", asked.server)
    end
    assert.same({}, w.said())
  end)

  describe("with sip.route('*from_server')", function()
    local override = [[
      sip.route("*from_server", function(req)
        say("from", req.method, req.kind, req.source.server.name, req.ruri.user)
        return req:relay(req.source.server.name == "a" and b or a)
      end)
    ]]

    it("reaches that function instead", function()
      open(nil, { after = override })
      local call = w.a:call "sip:carol@example.com"
      assert.equal("b", call.server)
      assert.same({ "from INVITE from_server a carol" }, w.said())
    end)

    it("but what comes within its dialogs does not", function()
      open(nil, { after = override })
      local call = w.a:call "sip:carol@example.com"
      assert.equal(200, w.a:bye(call):wait().code)
      assert.equal(1, #w.said())
    end)

    it("which may send it to a phone: a server is trusted", function()
      open(nil, { after = [[
        sip.route("*from_server", function(req) return req:relay "sip:alice@192.0.2.7" end)
      ]] })
      assert.equal("alice", w.a:call("sip:whoever@example.com").server)
    end)
  end)

  it("is told from one of a phone by req.source.server", function()
    open(nil, { after = [[
      sip.route("*from_server", function(req)
        say(req.source.ip, req.source.port, req.source.transport, req.source.server.name)
        return req:reply(480)
      end)
    ]] })
    w.a:call "sip:carol@example.com"
    w.alice:call "sip:carol@example.com"
    assert.same({ "10.0.0.1 5060 udp a", "INVITE nil initial" }, w.said())
  end)
end)

-- The two-line script in both directions: what a dialog needs must pass.
sim.for_workers("the two-line script", function(workers)
  after_each(sim.finish)

  local w

  before_each(function()
    w = policy.world { workers = workers, source = [[
      local sip = require "tandem"
      sip.listen { "udp:0.0.0.0:5060" }
      local pbx = sip.pool("pbx", { check = false, servers = {
        { name = "a", uri = "sip:10.0.0.1" }, { name = "b", uri = "sip:10.0.0.2" } } })
      sip.route(function(req) return req:relay(pbx) end)
    ]] }
  end)

  local function both_ways(caller, callee, uri)
    local call = caller:call(uri)
    assert.equal("up", call.state)
    assert.equal(callee.name, call.server)
    w.net:run(0.1)
    for _, one in ipairs { caller, callee } do
      for _, method in ipairs { "INVITE", "UPDATE", "INFO", "REFER", "NOTIFY" } do
        local asked = one:in_dialog(call, method):wait()
        assert.equal(method == "REFER" and 202 or 200, asked.code, one.name .. " " .. method)
        w.net:run(0.1)
      end
    end
    return call
  end

  for _, ending in ipairs { "caller", "callee" } do
    it("carries a phone's call, which its " .. ending .. " ends", function()
      local call = both_ways(w.alice, w.a, "sip:bob@example.com")
      local who = ending == "caller" and w.alice or w.a
      assert.equal(200, who:bye(call):wait().code)
      assert.equal("ended", call.state)
      assert.equal(0, w.a.unacked + w.alice.unacked)
    end)

    it("carries a server's call to a phone, which its " .. ending .. " ends", function()
      local call = both_ways(w.a, w.alice, alice_uri)
      local who = ending == "caller" and w.a or w.alice
      assert.equal(200, who:bye(call):wait().code)
      assert.equal("ended", call.state)
      assert.equal(0, w.a.unacked + w.alice.unacked)
    end)
  end

  it("carries everything through us: no packet goes straight", function()
    local call = both_ways(w.alice, w.a, "sip:bob@example.com")
    w.a:bye(call):wait()
    for _, packet in ipairs(w.net:packets()) do
      local ends = packet.from .. " " .. packet.to
      assert(ends:find("10.0.0.100:5060", 1, true), ends)
    end
  end)

  -- RFC 3262
  it("carries reliable provisionals in both directions", function()
    for _, pair in ipairs { { w.alice, w.a, "sip:bob@example.com" },
      { w.a, w.alice, alice_uri } } do
      local caller, callee, uri = pair[1], pair[2], pair[3]
      callee:on("INVITE", function(_, reply)
        reply(183, { reliable = true })
        callee:after(2, function() reply(200) end)
      end)
      local call = caller:call(uri)
      assert.equal("up", call.state)
      assert.same("1 1 INVITE", callee:got("PRACK")[1]:header "RAck")
      assert.equal(1, #caller:got(183))
    end
  end)
end)
