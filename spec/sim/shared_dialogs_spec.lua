-- Semantics 16: pools whose servers know each other's calls.
local sim = require "support.sim"
local policy = require "support.policy"
local wire = require "support.wire"

local uri = "sip:bob@example.com"
local moved = { "BYE", "INVITE", "UPDATE", "INFO", "REFER" }
local good = { BYE = 200, INVITE = 200, UPDATE = 200, INFO = 200, REFER = 202 }

sim.for_workers("shared_dialogs", function(workers)
  after_each(sim.finish)

  local w

  -- Servers a and b (tier 1 and 2) that share their calls; no checks.
  local function open(more)
    more = more or {}
    more.workers = workers
    more.pool = more.pool or "shared_dialogs = true"
    w = policy.world(more)
    w.b:share_dialogs(w.a)
    w.c:share_dialogs(w.a)
  end

  local function mark(name, word)
    w.net:reload { source = policy.script {
      pool = "shared_dialogs = true", servers = 2,
      after = ('sip.on("start", function() %s:%s() end)'):format(name, word),
    } }
    w.net:run(0.1)
  end

  local function call_up(caller)
    local call = (caller or w.alice):call(caller and "sip:alice@192.0.2.7" or uri)
    assert.equal("up", call.state)
    w.net:run(0.1)
    return call
  end

  local function clear()
    for _, ua in ipairs { w.a, w.b, w.c, w.alice } do
      ua.received = {}
    end
  end

  for _, from_server in ipairs { false, true } do
    describe(from_server and "of a call that the server made:" or "of a call to the server:",
      function()
        for _, method in ipairs(moved) do
          it(method .. " goes to the sibling when the server is known to be down", function()
            open()
            local call = call_up(from_server and w.a or nil)
            mark("a", "mark_down")
            clear()
            local asked = w.alice:in_dialog(call, method, { cseq = 50 }):wait()
            assert.equal(good[method], asked.code)
            assert.equal("b", asked.server)
            assert.equal(0, #w.a:got(method))
            local seen = w.b:got(method)[1]
            assert.matches("^sip:a@10.0.0.2$", seen.uri)
            assert.is_nil(seen:header "Route")
            assert(asked.elapsed < 0.1)
            w.net:run(0.1)
          end)

          it(method .. " goes there when the server does not answer", function()
            open()
            local call = call_up(from_server and w.a or nil)
            w.a:silence()
            clear()
            local asked = w.alice:in_dialog(call, method, { cseq = 50 }):wait()
            assert.equal(good[method], asked.code)
            assert.equal("b", asked.server)
            assert.same({ "a", "b" }, asked.tried)
            assert.near(4, asked.elapsed, 0.01)
            w.net:run(0.1)
          end)
        end

        it("a refused port moves it at once", function()
          open()
          local call = call_up(from_server and w.a or nil)
          w.a:refuse()
          local bye = w.alice:bye(call):wait()
          assert.same({ "a", "b" }, bye.tried)
          assert.equal(200, bye.code)
          assert(bye.elapsed < 0.1)
        end)

        it("the server answers for itself as long as it does", function()
          open()
          local call = call_up(from_server and w.a or nil)
          for i, method in ipairs { "INVITE", "UPDATE", "INFO", "REFER", "BYE" } do
            local asked = w.alice:in_dialog(call, method, { cseq = 50 + i }):wait()
            assert.equal("a", asked.server)
            assert.same({ "a" }, asked.tried)
            w.net:run(0.1)
          end
          assert.same({}, w.b.received)
        end)

        it("what the server sends to the phone is never moved", function()
          open()
          local call = call_up(from_server and w.a or nil)
          w.alice:silence()
          local asked = w.a:in_dialog(call, "INFO")
          w.net:run(40)
          assert.same({ "alice" }, asked.tried)
          assert.equal("timeout", asked.error)
          assert.same({}, w.b.received)
          w.alice:resume()
        end)
      end)
  end

  describe("an answer counts:", function()
    for _, code in ipairs { 481, 488, 500 } do
      it(code .. " of the server is forwarded", function()
        open()
        local call = call_up()
        w.a:once("INVITE", code)
        local again = w.alice:reinvite(call):wait()
        assert.equal(code, again.code)
        assert.same({ "a" }, again.tried)
      end)
    end

    it("503 becomes 500 and moves nothing", function()
      open()
      local call = call_up()
      w.a:once("INFO", 503)
      local asked = w.alice:in_dialog(call, "INFO"):wait()
      assert.equal(500, asked.code)
      assert.same({ "a" }, asked.tried)
    end)

    it("481 of a sibling is forwarded", function()
      open()
      local call = call_up()
      w.b.dialogs = {}
      w.a:crash()
      local bye = w.alice:bye(call):wait()
      assert.equal(481, bye.code)
      assert.same({ "a", "b" }, bye.tried)
    end)
  end)

  describe("with nobody left", function()
    it("a re-INVITE gets 500", function()
      open()
      local call = call_up()
      w.a:silence()
      w.b:silence()
      local again = w.alice:reinvite(call):wait()
      assert.equal(500, again.code)
      assert.same({ "a", "b" }, again.tried)
      assert.near(36, again.elapsed, 0.1)
    end)

    for _, method in ipairs { "BYE", "INFO" } do
      it(method .. " gets 500 within its budget, never 408", function()
        open()
        local call = call_up()
        w.a:silence()
        w.b:silence()
        local asked = w.alice:in_dialog(call, method):wait()
        assert.equal(500, asked.code)
        assert.near(20, asked.elapsed, 0.1)
      end)
    end

    it("it is tried at its own server, down or not", function()
      open { servers = 1 }
      local call = call_up()
      w.net:reload { source = policy.script { servers = 1, pool = "shared_dialogs = true",
        after = 'sip.on("start", function() a:mark_down() end)' } }
      w.net:run(0.1)
      local bye = w.alice:bye(call):wait()
      assert.equal(200, bye.code)
      assert.equal("a", bye.server)
    end)
  end)

  describe("a call that is not up yet", function()
    local call

    local function ring()
      open()
      w.a:on("INVITE", function(_, reply) reply(183, { reliable = true }) end)
      call = w.alice:invite(uri)
      w.net:run(1)
      w.a:silence()
      clear()
    end

    it("keeps its UPDATE and PRACK to its server", function()
      ring()
      for _, method in ipairs { "UPDATE", "PRACK" } do
        local asked = w.alice:in_dialog(call, method, { headers = { RAck = "9 9 INVITE" } })
        w.net:run(30)
        assert.same({ "a" }, asked.tried)
      end
      assert.same({}, w.b.received)
      w.alice:cancel(call)
      w.net:run(40)
    end)

    it("keeps a BYE to its server, too", function()
      ring()
      local bye = w.alice:bye(call)
      w.net:run(30)
      assert.same({ "a" }, bye.tried)
      w.alice:cancel(call)
      w.net:run(40)
    end)
  end)

  it("PRACK, NOTIFY and MESSAGE of a call that is up stay, too", function()
    open()
    local call = call_up()
    w.a:silence()
    for _, method in ipairs { "PRACK", "NOTIFY", "MESSAGE" } do
      local asked = w.alice:in_dialog(call, method)
      w.net:run(40)
      assert.same({ "a" }, asked.tried)
    end
    assert.same({}, w.b.received)
  end)

  describe("the ACK of a 2xx", function()
    it("goes to the server that gave it", function()
      open()
      local call = call_up()
      clear()
      w.alice:reinvite(call):wait()
      w.net:run(0.1)
      assert.equal(1, #w.a:got "ACK")
      assert.same({}, w.b.received)
    end)

    -- The sibling keeps the Contact of the one it stands in for.
    local function as_server_a()
      w.b:on("INVITE", function(_, reply)
        reply(200, { headers = { Contact = "<sip:a@10.0.0.1:5060>" } })
      end)
    end

    it("goes to the sibling that gave it, though nobody knows yet", function()
      open()
      local call = call_up()
      as_server_a()
      w.a:silence()
      clear()
      local again = w.alice:reinvite(call):wait()
      assert.equal("b", again.server)
      w.net:run(1)
      assert.equal(0, #w.a:got "ACK")
      assert.equal("sip:a@10.0.0.2", w.b:got("ACK")[1].uri)
      assert.equal(0, w.b.unacked)
      -- also when it is repeated, and not that of another request
      local third = w.alice:in_dialog(call, "INFO"):wait()
      assert.same({ "a", "b" }, third.tried)
    end)

    it("goes to the stand-in when the server has gone since", function()
      open()
      local call = w.alice:invite(uri, { ack = false })
      w.net:run(1)
      assert.equal(200, call.code)
      mark("a", "mark_down")
      clear()
      w.alice:ack(call)
      w.net:run(0.1)
      assert.same({}, w.a:got "ACK")
      assert.equal("sip:a@10.0.0.2", w.b:got("ACK")[1].uri)
    end)

    it("goes to the server that answered although it counts as down", function()
      open()
      w.a:ring(2)
      local call = w.alice:invite(uri)
      w.net:run(1)
      mark("a", "mark_down")
      clear()
      call:wait()
      w.net:run(0.1)
      assert.equal("a", call.server)
      assert.same({}, w.b.received)
      assert.equal(0, w.a.unacked)
      -- and what comes later to who stands in for it
      assert.same({ "b" }, w.alice:bye(call):wait().tried)
    end)

    it("goes to each server of a fork, also when one counts as down", function()
      local fork = "local res = req:fork { a, b } return res and res:forward()"
      open { handler = fork }
      w.a:ring(2)
      w.b:ring(2)
      local call = w.alice:invite(uri)
      w.net:run(1)
      assert(w.net:reload { source = policy.script {
        pool = "shared_dialogs = true", handler = fork,
        after = 'sip.on("start", function() a:mark_down() end)',
      } })
      call:wait()
      w.net:run(1)
      assert.equal(1, call.extra)
      assert.same({ 0, 0 }, { w.a.unacked, w.b.unacked })
      w.net:run(1)
    end)

    it("goes to the server again when that is back", function()
      open()
      local call = w.alice:invite(uri, { ack = false })
      w.net:run(1)
      mark("a", "mark_down")
      mark("a", "mark_up")
      clear()
      w.alice:ack(call)
      w.net:run(0.1)
      assert.equal(1, #w.a:got "ACK")
      assert.same({}, w.b.received)
    end)

    it("of the server goes to the phone as ever", function()
      open()
      local call = call_up()
      mark("a", "mark_down")
      w.a:reinvite(call):wait()
      w.net:run(0.1)
      assert.equal(2, #w.alice:got "ACK" + 1)
      assert.equal(0, w.alice.unacked)
    end)
  end)

  describe("the route set decides:", function()
    it("a Route that is the dead server becomes the sibling's, its parameters stay", function()
      open()
      w.a:on("INVITE", function(request, reply)
        local routes = request:list "Record-Route"
        table.insert(routes, 1, "<sip:10.0.0.1:5060;lr;x=1>")
        reply(200, { headers = { { "Contact", "<sip:inside@172.16.0.9>" } },
          routes = routes })
      end)
      local call = call_up()
      local ours = w.a:got("INVITE")[1]:header "Record-Route"
      w.a:refuse()
      local bye = w.alice:bye(call, { uri = "sip:inside@172.16.0.9",
        route = { ours, "<sip:10.0.0.1:5060;lr;x=1>, <sip:172.16.0.1;lr>" } }):wait()
      assert.same({ "a", "b" }, bye.tried)
      local seen = w.b:got("BYE")[1]
      assert.equal("sip:inside@172.16.0.9", seen.uri)
      assert.same({ "<sip:10.0.0.2;lr;x=1>", "<sip:172.16.0.1;lr>" }, seen:list "Route")
    end)

    it("what does not go to that server is not moved", function()
      open()
      local call = call_up()
      local elsewhere = w.net:uas("172.16.0.1", "elsewhere")
      elsewhere:silence()
      local ours = w.a:got("INVITE")[1]:header "Record-Route"
      local bye = w.alice:bye(call, { route = { ours, "<sip:172.16.0.1;lr>" } })
      w.net:run(40)
      assert.same({ "elsewhere" }, bye.tried)
      assert.same({}, w.b.received)
    end)

    it("nor what has no good cookie", function()
      open()
      local call = call_up()
      w.a:silence()
      local bye = w.alice:bye(call, { route = { "<sip:10.0.0.100;lr>" } })
      w.net:run(40)
      assert.same({ "a" }, bye.tried)
      assert.same({}, w.b.received)
    end)
  end)

  it("a re-INVITE can be cancelled while it is being moved", function()
    open()
    local call = call_up()
    w.a:silence()
    w.b:on("INVITE", function(_, reply) reply(180) end)
    local again = w.alice:reinvite(call)
    w.net:run(5)
    assert.equal("INVITE", wire.names(w.b.received))
    w.alice:cancel(again)
    w.net:run(5)
    assert.equal(487, again.code)
    assert.equal("INVITE CANCEL ACK", wire.names(w.b.received))
  end)

  it("a re-INVITE cancelled before that is moved to nobody", function()
    open()
    local call = call_up()
    w.a:on("INVITE", function(_, reply) reply(100) end)
    local again = w.alice:reinvite(call)
    w.net:run(1)
    w.a:silence()
    w.alice:cancel(again)
    w.net:run(40)
    assert.equal(487, again.code)
    assert.same({}, w.b.received)
  end)

  it("silence in a call is evidence against the server", function()
    open { pool = "shared_dialogs = true, passive = { fall = 2, hold = 60 }" }
    local calls = { call_up(), call_up(), call_up() }
    w.a:silence()
    for i = 1, 2 do
      assert.same({ "a", "b" }, w.alice:bye(calls[i]):wait().tried)
    end
    w.net:run(0.1)
    assert.equal("held", w.net.pools.pbx.a.status)
    assert.same({ "b" }, w.alice:bye(calls[3]):wait().tried)
  end)

  it("is found out by checks and undone by them", function()
    open { source = [[
      local sip = require "tandem"
      sip.listen { "udp:0.0.0.0:5060" }
      local pbx = sip.pool("pbx", { shared_dialogs = true, failback = { hold = 1 },
        check = { jitter = 0 }, servers = {
        { name = "a", uri = "sip:10.0.0.1" }, { name = "b", uri = "sip:10.0.0.2", tier = 2 } } })
      sip.route(function(req) return req:relay(pbx) end)
    ]] }
    w.net:run(3)
    local first, second = call_up(), call_up()
    w.a:silence()
    w.net:run(8)
    local bye = w.alice:bye(first):wait()
    assert.same({ "b" }, bye.tried)
    w.a:resume()
    w.net:run(10)
    assert.same({ "a" }, w.alice:bye(second):wait().tried)
  end)

  it("of a call that another node began: the key is enough", function()
    open { key = "0123456789abcdef" }
    local call = call_up()
    w.net.nodes[1]:power_off()
    local standby = w.net:node { addr = "10.0.0.102", key = "0123456789abcdef", name = "standby" }
    standby:take "10.0.0.100"
    w.a:crash()
    local bye = w.alice:bye(call):wait()
    assert.equal(200, bye.code)
    assert.same({ "a", "b" }, bye.tried)
  end)

  it("passes over siblings that are down or in maintenance", function()
    open { servers = 3, before = "", after = [[
      sip.on("start", function() a:mark_down() b:maint() end)
    ]] }
    w.net:run(0.1)
    -- c took the call; now a node where it is down, too
    local call = call_up()
    assert.equal("c", call.server)
    assert.equal("c", w.alice:bye(call):wait().server)
  end)

  it("asks a policy of the script about requests only", function()
    local pool = [[shared_dialogs = true, policy = function(req, servers)
      return req.method ~= "UPDATE" and servers or nil
    end]]
    open { pool = pool, servers = 2 }
    local call = call_up()
    local answered = w.alice:invite(uri, { ack = false })
    w.net:run(1)
    assert(w.net:reload { source = policy.script {
      pool = pool, servers = 2, after = 'sip.on("start", function() a:mark_down() end)',
    } })
    w.net:run(0.1)
    w.alice:ack(answered)
    w.net:run(0.1)
    assert.equal(1, #w.b:got "ACK")
    assert.equal("a", w.alice:in_dialog(call, "UPDATE"):wait().server) -- it said nobody
    assert.equal("b", w.alice:reinvite(call):wait().server)
    assert(w.net:reload()) -- also with a server that is down
    assert.equal("b", w.alice:bye(call):wait().server)
  end)

  it("has no limits: those are for new calls", function()
    local limited = [[{ name = "%s", uri = "sip:10.0.0.%d", tier = %d, max_calls = 1 }]]
    w = policy.world { workers = workers, source = ([[
      local sip = require "tandem"
      sip.listen { "udp:0.0.0.0:5060" }
      local pbx = sip.pool("pbx", { servers = { %s, %s }, check = false, shared_dialogs = true })
      sip.route(function(req) return req:relay(pbx) end)
    ]]):format(limited:format("a", 1, 1), limited:format("b", 2, 2)) }
    w.b:share_dialogs(w.a)
    local call, other = call_up(), call_up()
    assert.equal("b", other.server)
    w.a:refuse()
    assert.equal("b", w.alice:reinvite(call):wait().server)
  end)

  describe("is off by default:", function()
    it("a BYE to a dead server ends in silence, counted", function()
      open { pool = "" }
      local call = call_up()
      w.a:silence()
      local bye = w.alice:bye(call):wait()
      assert.equal("timeout", bye.error)
      assert.same({ "a" }, bye.tried)
      w.net:run(1)
      assert.equal(1, w.net:metric("tandem_dropped_total", { reason = "noninvite_timeout" }))
      assert.same({}, w.b.received)
    end)

    it("and a re-INVITE in 500", function()
      open { pool = "" }
      local call = call_up()
      w.a:silence()
      local again = w.alice:reinvite(call)
      w.net:run(40)
      assert.equal(500, again.code)
      assert.same({ "a" }, again.tried)
    end)
  end)

  describe("with sip.route('*in_dialog')", function()
    local asks = [[sip.route("*in_dialog", function(req)
      say(req.method, req.kind)
      %s
    end)]]

    it("the script decides instead", function()
      open { after = asks:format "return req:reply(403)" }
      local call = call_up()
      assert.equal(403, w.alice:in_dialog(call, "INFO"):wait().code)
      assert.same({ "INFO in_dialog" }, w.said())
    end)

    it("req:relay_dialog() does what would have been done", function()
      open { after = asks:format "return req:relay_dialog()" }
      local call = call_up()
      assert.equal("a", w.alice:in_dialog(call, "INFO"):wait().server)
      assert.equal("alice", w.a:in_dialog(call, "INFO"):wait().server)
      w.a:silence()
      assert.same({ "a", "b" }, w.alice:bye(call):wait().tried)
    end)

    it("which works in any pool: along the route set", function()
      open { pool = "", after = asks:format "return req:relay_dialog()" }
      local call = call_up()
      assert.equal("a", w.alice:reinvite(call):wait().server)
      w.net:run(0.1)
      assert.equal("alice", w.a:bye(call):wait().server)
    end)

    it("which is 481 for what is for ourselves", function()
      open { after = asks:format "return req:relay_dialog()" }
      policy.send(w.alice, "INFO", "sip:10.0.0.100", { to_tag = "x" })
      w.net:run(1)
      assert.equal(1, #w.alice:got(481))
    end)

    it("which is for nothing else", function()
      open { handler = "return req:relay_dialog()" }
      assert.equal(500, w.alice:call(uri).code)
      assert.matches("req:relay_dialog: this request is not within a call; use req:relay",
        policy.failure(w.net).error, 1, true)
      w.net:finish { errors = 1 }
    end)
  end)

  it("costs one request and nothing else when memory runs out", function()
    open()
    local node, failed = w.net.nodes[1], 0
    for n = 1, 40 do
      local call = call_up()
      w.a:refuse()
      node:fail_alloc(n, { row = 2 })
      local again = w.alice:reinvite(call)
      w.net:run(0.5)
      failed = failed + (node:fail_alloc(0) >= n and 1 or 0)
      again:wait()
      assert(again.code == 200 or again.code == 500, again.code)
      w.net:run(0.1)
      w.a:resume()
      w.alice:bye(call):wait()
    end
    assert(failed > 5, failed)
    w.net:finish { errors = w.net:count "lua.error" }
  end)
end)
