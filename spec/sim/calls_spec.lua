-- Calls that are up, as counted at their servers (semantics 25): when a call begins
-- to count, and each way in which it ends, once.
local sim = require "support.sim"
local policy = require "support.policy"

sim.for_workers("a call at its server", function(workers)
  local w, net, a, b, alice

  -- opts as for policy.world
  local function start(opts)
    opts = opts or {}
    opts.workers = workers
    opts.handler = opts.handler or "return req:relay(pbx, { timeout = 2, last_timeout = 5 })"
    w = policy.world(opts)
    net, a, b, alice = w.net, w.a, w.b, w.alice
  end

  -- Calls and set-ups at a and at b.
  local function counted()
    local pbx = net.pools.pbx
    assert.equal(pbx.a.setup, pbx.a.inflight)
    assert.equal(pbx.b.setup, pbx.b.inflight)
    return { pbx.a.calls, pbx.a.setup, pbx.b.calls, pbx.b.setup }
  end

  local function ended(reason)
    return net:metric("tandem_calls_ended_total", { reason = reason })
  end

  local function call(opts)
    local made = alice:call("sip:bob@example.com", opts)
    assert.equal(200, made.code)
    net:run(0.1)
    return made
  end

  -- The same 2xx again under another To tag, as a server that forks sends it.
  local function second_2xx(at, tag)
    for _, packet in ipairs(net:packets()) do
      if packet.from == at.addr and packet.bytes:find "^SIP/2.0 200 [^\r]*\r\n"
        and packet.bytes:find "CSeq: %d+ INVITE" then
        local bytes = packet.bytes:gsub("(\r\nTo: [^\r]*;tag=)[^\r;]*", "%1" .. tag)
        return bytes
      end
    end
  end

  after_each(sim.finish)

  describe("begins", function()
    it("when its 2xx goes up, and is being set up until then", function()
      start()
      a:ring(1)
      alice:invite "sip:bob@example.com"
      net:run(0.5)
      assert.same({ 0, 1, 0, 0 }, counted())
      net:run(1)
      assert.same({ 1, 0, 0, 0 }, counted())
      assert.equal(1, net:metric "tandem_calls_begun_total")
    end)

    it("at no moment as nothing or as both", function()
      start()
      a:ring(1)
      alice:invite "sip:bob@example.com"
      net:run(0.1)
      net:run_until(function()
        local calls, setup = table.unpack(counted())
        assert.equal(1, calls + setup)
        return calls == 1
      end, 3, 0.0001)
    end)

    it("at the server that answered late, not at the one that was tried meanwhile", function()
      start()
      a:answer("INVITE", 200, 3)
      b:on("INVITE", function(_, reply) reply(180) end)
      alice:invite "sip:bob@example.com"
      net:run(2.5)
      assert.same({ 0, 0, 0, 1 }, counted())
      net:run(1)
      assert.same({ 1, 0, 0, 0 }, counted())
    end)

    it("late, when our own refusal went up and the answer is passed on all the same", function()
      start {
        before = 'sip.settings { late_answer = "forward" }',
        handler = "local _ = req:try(a, { timeout = 1 }) return req:reply(480)",
      }
      a:answer("INVITE", 200, 3)
      a:on("BYE", function() end) -- alice wants it no more
      local made = alice:invite "sip:bob@example.com"
      net:run(2)
      assert.equal(480, made.code)
      assert.same({ 0, 0, 0, 0 }, counted())
      net:run(2)
      assert.same({ 1, 0, 0, 0 }, counted())
    end)

    it("not when the proxy hangs up on a late answer itself", function()
      start { handler = "local _ = req:try(a, { timeout = 1 }) return req:reply(480)" }
      a:answer("INVITE", 200, 3)
      alice:invite "sip:bob@example.com"
      net:run(5)
      assert.equal(1, #a:got "BYE")
      assert.same({ 0, 0, 0, 0 }, counted())
      assert.equal(0, net:metric "tandem_calls_begun_total")
    end)

    it("once, however often its 2xx is repeated", function()
      start()
      call { ack = false }
      net:run(10)
      assert.is_true(#alice:got(200) > 3)
      assert.same({ 1, 0, 0, 0 }, counted())
      assert.equal(1, net:metric "tandem_calls_begun_total")
    end)

    it("for each dialog of a server that forks", function()
      start()
      a:answer("BYE", 200, 2) -- alice hangs up the second one
      call()
      a:send(second_2xx(a, "second"), net.proxy)
      net:run(0.5)
      assert.same({ 2, 0, 0, 0 }, counted())
      net:run(2)
      assert.same({ 1, 0, 0, 0 }, counted())
    end)

    it("for each server that answered a fork", function()
      start { handler = "local res = req:fork { a, b } if res then res:forward() end" }
      b:answer("INVITE", 200)
      b:on("BYE", function() end)
      alice:call "sip:bob@example.com"
      net:run(0.5)
      local both = counted()
      assert.same({ 2, 0 }, { both[1] + both[3], both[2] + both[4] })
    end)

    it("not at servers whose calls do not come back here", function()
      start { pool = "record_route = false" }
      call()
      assert.same({ 0, 0, 0, 0 }, counted())
    end)

    it("not when the script or the server refuses", function()
      start()
      a:answer("INVITE", 486)
      alice:call "sip:bob@example.com"
      assert.same({ 0, 0, 0, 0 }, counted())
      start { handler = "return req:reply(200)" }
      alice:call("sip:bob@example.com", { ack = false })
      assert.same({ 0, 0, 0, 0 }, counted())
    end)

    it("where a server called another, at the one that was called", function()
      start()
      b:invite("sip:x@10.0.0.1", { proxy = net.proxy })
      net:run(0.5)
      assert.same({ 1, 0, 0, 0 }, counted())
    end)

    it("with what it takes of resources", function()
      start {
        handler = [[
          local res = req:_try({ { facts = f } }, { timeout = 2, resources = { pstn = 3 } })
          if res then res:forward() else req:reply(500) end]],
        before = [[
          local core = require "tandem.core"
          local f = core.member("raw", "x", { addr = "10.0.0.3:5060", resources = { "pstn" } })
          sip.route("OPTIONS", function(req)
            sip.log.info("used " .. f:used "pstn")
            req:reply(200)
          end)]],
      }
      local function used()
        alice:ask("OPTIONS", "sip:x@example.com")
        local said = w.said()
        return said[#said]
      end
      w.c:ring(1)
      local made = alice:invite "sip:bob@example.com"
      net:run(0.5)
      assert.equal("used 3", used())
      net:run(1)
      assert.equal("used 3", used())
      alice:bye(made)
      net:run(1)
      assert.equal("used 0", used())
    end)

    it("uncounted when there is no memory for it, and the call is none the worse", function()
      local failed = 0
      for n = 1, 60 do
        start()
        local function fail(at)
          for worker = 1, workers do
            net.nodes[1]:fail_alloc(at, { worker = worker })
          end
        end
        a:on("INVITE", function(_, reply) fail(n) reply(200) end)
        local made = alice:call "sip:bob@example.com"
        net:run(0.01)
        fail(0)
        net:run(8) -- what was lost is repeated
        assert.equal(200, made.code)
        local untracked = net:metric "tandem_calls_untracked_total"
        assert.same({ 1 - untracked, 0, 0, 0 }, counted())
        failed = failed + untracked
        net:finish { errors = net:count "lua.error" } -- the script may have had none either
      end
      assert.is_true(failed > 0)
    end)
  end)

  describe("ends", function()
    it("with the answer to the caller's BYE", function()
      start()
      local made = call()
      a:answer("BYE", 200, 1)
      alice:bye(made)
      net:run(0.5)
      assert.same({ 1, 0, 0, 0 }, counted())
      net:run(1)
      assert.same({ 0, 0, 0, 0 }, counted())
      assert.equal(1, ended "bye")
    end)

    it("with the answer to the callee's BYE", function()
      start()
      a:bye(call())
      net:run(1)
      assert.same({ 0, 0, 0, 0 }, counted())
    end)

    it("once, when both hang up at the same time, and again", function()
      start()
      local made = call()
      a:bye(made)
      alice:bye(made)
      net:run(1)
      assert.same({ 0, 0, 0, 0 }, counted())
      alice:bye(made)
      net:run(1)
      assert.same({ 0, 0, 0, 0 }, counted())
      assert.equal(1, ended "bye")
    end)

    it("once, when the network doubles everything", function()
      start { link = { duplicate = 1 } }
      local made = call()
      assert.same({ 1, 0, 0, 0 }, counted())
      alice:bye(made)
      net:run(1)
      assert.same({ 0, 0, 0, 0 }, counted())
    end)

    -- RFC 3261 15.1.1
    it("not with a 401 or 407 to the BYE", function()
      start()
      local made = call()
      for _, code in ipairs { 401, 407 } do
        a:once("BYE", code)
        alice:bye(made)
        net:run(1)
        assert.same({ 1, 0, 0, 0 }, counted())
      end
      alice:bye(made)
      net:run(1)
      assert.same({ 0, 0, 0, 0 }, counted())
    end)

    it("with a 481 or another refusal of the BYE", function()
      for _, code in ipairs { 481, 500, 603 } do
        start()
        local made = call()
        a:answer("BYE", code)
        alice:bye(made)
        net:run(1)
        assert.same({ 0, 0, 0, 0 }, counted())
      end
    end)

    it("when nobody answers the BYE", function()
      start()
      local made = call()
      a:silence()
      alice:bye(made)
      net:run(31)
      assert.same({ 1, 0, 0, 0 }, counted())
      net:run(2)
      assert.same({ 0, 0, 0, 0 }, counted())
    end)

    it("when the BYE cannot be delivered", function()
      start()
      local made = call()
      a:crash()
      alice:bye(made)
      net:run(1)
      assert.same({ 0, 0, 0, 0 }, counted())
    end)

    it("when the script answers the BYE, and not when it challenges or drops it", function()
      for verb, left in pairs {
        ["req:reply(200)"] = 0, ["req:reply(407)"] = 1, ["req:drop('no')"] = 1,
      } do
        start { after = ('sip.route("*in_dialog", function(req) %s end)'):format(verb) }
        local made = call()
        alice:bye(made)
        net:run(40)
        assert.same({ left, 0, 0, 0 }, counted())
      end
    end)

    -- RFC 5057, RFC 3261 12.2.1.2
    it("with a 481 to a request of its session", function()
      for _, method in ipairs { "INFO", "UPDATE", "INVITE", "MESSAGE" } do
        start()
        local made = call()
        a:answer(method, 481)
        alice:in_dialog(made, method)
        net:run(1)
        assert.same({ 0, 0, 0, 0 }, counted())
        assert.equal(1, ended "rejected")
        alice:bye(made)
        net:run(1)
        assert.equal(0, ended "bye")
      end
    end)

    it("not with a 481 that speaks of something else, nor with another refusal", function()
      start()
      local made = call()
      for _, method in ipairs { "SUBSCRIBE", "NOTIFY", "PRACK" } do
        a:answer(method, 481)
        alice:in_dialog(made, method)
      end
      a:answer("INFO", 488)
      alice:in_dialog(made, "INFO")
      net:run(1)
      assert.equal(3, #alice:got(481))
      assert.same({ 1, 0, 0, 0 }, counted())
    end)

    it("not because a request in it gets no answer", function()
      start()
      local made = call()
      a:on("INFO", function() end)
      alice:in_dialog(made, "INFO")
      net:run(40)
      assert.same({ 1, 0, 0, 0 }, counted())
    end)

    it("for its own dialog only", function()
      start()
      local first, second = call(), call()
      assert.same({ 2, 0, 0, 0 }, counted())
      policy.send(alice, "BYE", "sip:a@10.0.0.1", {
        call_id = first.id, from_tag = first.from_tag, to_tag = "wrong",
        route = second.dialog.routes,
      })
      policy.send(alice, "BYE", "sip:a@10.0.0.1", {
        call_id = second.id, from_tag = first.from_tag, to_tag = second.dialog.remote_tag,
        route = second.dialog.routes,
      })
      net:run(1)
      assert.same({ 2, 0, 0, 0 }, counted())
      alice:bye(first)
      net:run(1)
      assert.same({ 1, 0, 0, 0 }, counted())
    end)

    it("for good: a 2xx that comes again after the BYE begins no new one", function()
      start()
      local made = call { ack = false } -- its server goes on repeating the 2xx
      alice:bye(made)
      net:run(1)
      assert.same({ 0, 0, 0, 0 }, counted())
      local before = #alice:got(200)
      net:run(30)
      assert.is_true(#alice:got(200) > before)
      assert.same({ 0, 0, 0, 0 }, counted())
    end)

    it("when a server whose caller never acknowledged hangs up", function()
      start()
      call { ack = false }
      net:run(35)
      assert.equal(1, #alice:got "BYE")
      assert.same({ 0, 0, 0, 0 }, counted())
    end)

    it("after max_duration, when nothing is heard of it", function()
      start { pool = "max_duration = 100" }
      call()
      net:run(99)
      assert.same({ 1, 0, 0, 0 }, counted())
      net:run(1.5)
      assert.same({ 0, 0, 0, 0 }, counted())
      assert.equal(1, ended "max_duration")
    end)

    it("after 12 hours by default", function()
      start()
      call()
      net:run(12 * 3600 - 1)
      assert.same({ 1, 0, 0, 0 }, counted())
      net:run(2)
      assert.same({ 0, 0, 0, 0 }, counted())
    end)

    -- RFC 4028 10
    it("half a minute after its session timer, in both forms of the header", function()
      for _, name in ipairs { "Session-Expires", "x" } do
        start()
        a:answer("INVITE", 200, { [name] = "90;refresher=uas" })
        call()
        net:run(121)
        assert.same({ 1, 0, 0, 0 }, counted())
        net:run(2)
        assert.same({ 0, 0, 0, 0 }, counted())
        assert.equal(1, ended "session_timer")
      end
    end)

    it("later, when either side refreshes the session", function()
      start { pool = "max_duration = 200" }
      a:answer("INVITE", 200, { ["Session-Expires"] = "90" })
      local made = call()
      net:run(80)
      alice:reinvite(made)
      net:run(80)
      assert.same({ 1, 0, 0, 0 }, counted())
      alice:answer("UPDATE", 200, { x = "100" })
      a:in_dialog(made, "UPDATE")
      net:run(131)
      assert.same({ 1, 0, 0, 0 }, counted())
      alice:answer("INVITE", 200)
      a:reinvite(made) -- without a session timer from here on
      net:run(199)
      assert.same({ 1, 0, 0, 0 }, counted())
      net:run(2)
      assert.same({ 0, 0, 0, 0 }, counted())
      assert.equal(1, ended "max_duration")
    end)

    it("not because a refresh was refused", function()
      start { pool = "max_duration = 100" }
      a:answer("INVITE", 200, { ["Session-Expires"] = "90" })
      local made = call()
      net:run(80)
      a:answer("INVITE", 491, { ["Session-Expires"] = "1000" })
      alice:reinvite(made)
      net:run(41)
      assert.same({ 1, 0, 0, 0 }, counted())
      net:run(2)
      assert.same({ 0, 0, 0, 0 }, counted())
    end)

    it("by max_duration when its session timer is rubbish", function()
      for _, rubbish in ipairs { "", "soon", "-1", "99999999999" } do
        start { pool = "max_duration = 100" }
        a:answer("INVITE", 200, { ["Session-Expires"] = rubbish })
        call()
        net:run(99)
        assert.same({ 1, 0, 0, 0 }, counted())
        net:run(2)
        assert.same({ 0, 0, 0, 0 }, counted())
      end
    end)

    it("at a server that a reload has removed, and counts again at one that came back", function()
      start()
      local script = policy.script { handler = "return req:relay(pbx)" }
      local function other(source)
        return source:gsub("10%.0%.0%.1", "10.0.0.9"):gsub('name = "a"', 'name = "z"')
          :gsub('pbx:server "a"', 'pbx:server "z"')
      end
      local first, second = call(), call()
      assert.is_true(net:reload { source = other(script), path = "script.lua" })
      alice:bye(first)
      net:run(1)
      assert.equal(200, alice:ask("OPTIONS", "sip:x@10.0.0.100").code)
      assert.is_true(net:reload { source = script, path = "script.lua" })
      assert.same({ 1, 0, 0, 0 }, counted())
      alice:bye(second)
      net:run(1)
      assert.same({ 0, 0, 0, 0 }, counted())
    end)
  end)

  it("counts nothing that was cancelled, and what crossed the CANCEL until its BYE", function()
    start()
    a:on("INVITE", function(_, reply)
      reply(180)
      a:after(1, function() reply(200) end)
    end)
    a:on("CANCEL", function(_, reply) reply(200) end) -- too late
    local made = alice:invite "sip:bob@example.com"
    net:run(0.9995)
    alice:cancel(made)
    net:run_until(function() return #a:got "BYE" > 0 end, 5, 0.001)
    assert.same({ 1, 0, 0, 0 }, counted())
    net:run(1)
    assert.same({ 0, 0, 0, 0 }, counted())
  end)
end)
