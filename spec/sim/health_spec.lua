-- Semantics 22 and 23: checks, passive evidence, orders, and what they mean for calls.
local sim = require "support.sim"
local policy = require "support.policy"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
%s
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1", tier = 1 },
              { name = "b", uri = "sip:10.0.0.2", tier = 2 } },
  %s })
local a, b = pbx:server "a", pbx:server "b"
local _ = { a, b }
sip.route(function(req)
  local ok, why = req:relay(pbx, { timeout = 1, last_timeout = 1 })
  if not ok then return req:reply(480, "relay: " .. why) end
end)
%s
]]

sim.for_workers("checks", function(workers)
  after_each(sim.finish)

  local w

  -- pool: options; after: at the end of the script; before: ahead of the pool.
  local function open(pool, after, before)
    w = policy.world { workers = workers, source = frame:format(before or "", pool, after or "") }
  end

  local exact = "check = { interval = 2, timeout = 1, fall = 3, rise = 2, jitter = 0 }"

  local function health(name)
    return w.net.pools.pbx[name].health
  end

  -- Changes of a server: "time from>to reason".
  local function changes(name)
    local list = {}
    for _, e in ipairs(w.net.events) do
      if e.event == "server.health" and e.server == name and e.from ~= "none" then
        list[#list + 1] = ("%.3f %s>%s %s"):format(e.time, e.from, e.to, e.reason)
      end
    end
    return list
  end

  describe("are OPTIONS", function()
    it("at once, and every interval, to every server", function()
      open(exact)
      w.net:run(6.5)
      assert.same({ 0.001, 2.001, 4.001, 6.001 }, wire.times(w.a:got "OPTIONS"))
      assert.equal(4, #w.b:got "OPTIONS")
    end)

    it("that ask the server itself, from our own domain", function()
      open(exact, nil, 'sip.settings { domains = { "example.org" } }')
      w.net:run(0.1)
      local check = w.a:got("OPTIONS")[1]
      assert.equal("sip:10.0.0.1", check.uri)
      assert.matches("^<sip:tandem@example.org>;tag=", check:header "From")
      assert.equal("<sip:10.0.0.1>", check:header "To")
      assert.equal(1, #check:list "Via")
      assert.is_nil(check:header "Route")
      assert.is_nil(check:header "Record-Route")
    end)

    it("from whom the check says", function()
      open "check = { from = 'sip:probe@example.net' }"
      w.net:run(1)
      assert.matches("^<sip:probe@example.net>", w.a:got("OPTIONS")[1]:header "From")
      assert.not_matches("dispatcher", w.a:got("OPTIONS")[1].bytes)
    end)

    it("with a Call-ID and a branch each", function()
      open(exact)
      w.net:run(5)
      local seen = {}
      for _, check in ipairs(w.a:got "OPTIONS") do
        assert.is_nil(seen[check.call_id] or seen[check.branch])
        seen[check.call_id], seen[check.branch] = true, true
      end
    end)

    it("from one worker only", function()
      open(exact)
      w.net:run(1)
      assert.equal(1, #w.a:got "OPTIONS")
    end)

    it("not in step with each other", function()
      open "check = { interval = 10, jitter = 0.1 }"
      w.net:run(1.1)
      local at, bt = w.a:got("OPTIONS")[1].time, w.b:got("OPTIONS")[1].time
      assert.not_equal(at, bt)
      w.net:run(60)
      local times = wire.times(w.a:got "OPTIONS")
      for i = 2, #times do
        local gap = times[i] - times[i - 1]
        assert.is_true(gap >= 9 - 0.002 and gap <= 11 + 0.002, gap)
      end
    end)

    it("retransmitted within their timeout, never two in flight", function()
      open(exact)
      w.a:silence()
      w.net:run(30)
      local last, branch = -10, nil
      for _, check in ipairs(w.a:got "OPTIONS") do
        if check.branch ~= branch then
          assert.is_true(check.time - last >= 1 - 0.001)
          last, branch = check.time, check.branch
        end
      end
    end)

    it("none with check = false: then everybody is up, unknown", function()
      open "check = false"
      w.net:run(10)
      assert.same({}, w.a.received)
      assert.equal("unknown", health "a")
      assert.equal("up", w.net.pools.pbx.a.status)
    end)
  end)

  describe("take a server down after `fall` bad ones in a row", function()
    it("faster once the first was bad: 5 s at worst with the defaults", function()
      open(exact)
      w.net:run(0.5)
      w.a:silence()
      w.net:run(10)
      assert.same({ "0.002 unknown>up 200", "3.000 up>falling timeout",
        "5.000 falling>down timeout" }, changes "a")
    end)

    it("while calls already move within themselves", function()
      open(exact)
      w.net:run(0.5)
      w.a:silence()
      local call = w.alice:call(uri)
      assert.same({ "a", "b" }, call.tried)
      w.net:run(10)
      assert.same({ "b" }, w.alice:call(uri).tried)
    end)

    it("also by ICMP and by 5xx", function()
      open(exact)
      w.a:answer("OPTIONS", 500)
      w.net:run(10)
      assert.equal("down", health "a")
      assert.matches("unknown>down 500$", changes("a")[#changes "a"])
      w.b:refuse()
      w.net:run(10)
      assert.equal("down", health "b")
      assert.matches("down icmp_port$", changes("b")[#changes "b"])
    end)

    it("not by one good one among them", function()
      open(exact)
      w.net:run(0.5)
      for _ = 1, 5 do
        w.a:once("OPTIONS", 500)
        w.a:once("OPTIONS", 500)
        w.a:once("OPTIONS", 200)
      end
      w.net:run(30)
      for _, change in ipairs(changes "a") do
        assert.not_matches(">down", change)
      end
    end)

    it("not by 403, 404 or 405: gateways answer so", function()
      for _, code in ipairs { 403, 404, 405, 401, 600 } do
        open(exact)
        w.a:answer("OPTIONS", code)
        w.net:run(10)
        assert.equal("up", health "a")
      end
    end)

    it("by what `expect` says is bad", function()
      open "check = { expect = { 200, 404 }, jitter = 0 }"
      w.a:answer("OPTIONS", 405)
      w.b:answer("OPTIONS", 404)
      w.net:run(10)
      assert.equal("down", health "a")
      assert.equal("up", health "b")
    end)

    it("by what the function `expect` says is bad", function()
      open [[check = { jitter = 0, expect = function(res)
        return res.code == 200 and res:header "X-State" ~= "standby"
      end }]]
      w.a:answer("OPTIONS", 200, { ["X-State"] = "standby" })
      w.b:answer("OPTIONS", 200, { ["X-State"] = "active" })
      w.net:run(10)
      assert.equal("down", health "a")
      assert.equal("up", health "b")
    end)
  end)

  describe("take a server up after `rise` good ones in a row", function()
    it("and one good one when nothing is known yet: no failback hold", function()
      open(exact)
      w.net:run(0.1)
      assert.same({ "0.002 unknown>up 200" }, changes "a")
      assert.equal("up", w.net.pools.pbx.a.status)
    end)

    it("with the fast interval while it rises", function()
      open("failback = { hold = 0 }, " .. exact)
      w.a:silence()
      w.net:run(10)
      assert.equal("down", health "a")
      w.a:resume()
      w.net:run(3)
      local list = changes "a"
      assert.matches("down>rising 200$", list[#list - 1])
      assert.matches("rising>up 200$", list[#list])
      local rose = tonumber(list[#list]:match "^%S+") - tonumber(list[#list - 1]:match "^%S+")
      assert.equal(1, rose)
      assert.equal("a", w.alice:call(uri).server)
    end)

    it("and not after a bad one in between", function()
      open("failback = { hold = 0 }, " .. exact)
      w.a:answer("OPTIONS", 500)
      w.net:run(10)
      w.a:once("OPTIONS", 200)
      w.net:run(4)
      assert.equal("down", health "a")
    end)
  end)

  it("are late when their answer is: it does not count for the next", function()
    open "check = { interval = 2, timeout = 1, fall = 2, rise = 2, jitter = 0 }"
    w.net:run(0.5)
    w.a:answer("OPTIONS", 200, nil, 1.5)
    w.net:run(20)
    assert.equal("down", health "a")
  end)
end)

sim.for_workers("servers and calls", function(workers)
  after_each(sim.finish)

  local w

  local function open(pool, after)
    w = policy.world { workers = workers, source = frame:format("", pool, after or "") }
  end

  local function status(name)
    w.net:run(0.01)
    return w.net.pools.pbx[name].status
  end

  describe("passive evidence:", function()
    local two = "check = false, passive = { fall = 2, hold = 10 }"

    it("local failures in a row hold the server", function()
      open(two)
      w.a:silence()
      w.alice:call(uri)
      assert.equal("up", status "a")
      w.alice:call(uri)
      assert.equal("held", status "a")
      assert.same({ "b" }, w.alice:call(uri).tried)
      assert.equal(1, w.net:count("server.hold", { server = "a", reason = "passive" }))
    end)

    it("any answer in between is an alibi: 486, 503, 180", function()
      for _, code in ipairs { 486, 503, 404 } do
        open(two)
        for _ = 1, 4 do
          w.a:silence()
          w.alice:call(uri)
          w.a:resume()
          w.a:once("INVITE", code)
          w.alice:call(uri)
        end
        assert.equal("up", status "a")
      end
    end)

    it("answers count where the pool names their codes, and no others do", function()
      open "check = false, passive = { fall = 2, hold = 10, codes = { 500 } }"
      for _, code in ipairs { 500, 404, 500 } do
        w.a:once("INVITE", code)
        assert.equal(code, w.alice:call(uri).code)
        assert.equal("up", status "a")
      end
      w.a:once("INVITE", 500)
      w.alice:call(uri)
      assert.equal("held", status "a")
    end)

    it("of a request in a call is against the pool that the call came through", function()
      for _, shared in ipairs { "true", "false" } do
        w = policy.world { source = [[
          local sip = require "tandem"
          sip.listen { "udp:0.0.0.0:5060" }
          sip.pool("other", { check = false, servers = { { name = "x", uri = "sip:10.0.0.1" } } })
          local pbx = sip.pool("pbx", { check = false, passive = { fall = 2 }, shared_dialogs = ]]
          .. shared .. [[, servers = { { name = "a", uri = "sip:10.0.0.1", tier = 1 },
                                       { name = "b", uri = "sip:10.0.0.2", tier = 2 } } })
          sip.route(function(req) return req:relay(pbx) end)
        ]], workers = workers }
        local calls = { w.alice:call(uri), w.alice:call(uri) }
        w.net:run(0.1)
        w.a:silence()
        for _, call in ipairs(calls) do
          w.alice:bye(call):wait()
        end
        assert.equal("held", status "a")
        assert.equal(0, w.net.pools.other.x.failures)
      end
    end)

    it("after the hold one request at a time is the trial until it is answered", function()
      open(two)
      w.a:silence()
      w.alice:call(uri)
      w.alice:call(uri)
      w.net:run(10)
      local one, other = w.alice:invite(uri), w.alice:invite(uri)
      w.net:run(0.5)
      assert.same({ "a" }, one.tried)
      assert.same({ "b" }, other.tried)
      other:wait()
      one:wait()
      -- the trial failed: held again, twice as long
      assert.equal("held", status "a")
      w.a:resume()
      w.net:run(20.5)
      assert.equal("a", w.alice:call(uri).server)
      assert.equal("a", w.alice:call(uri).server)
      assert.equal("up", status "a")
    end)

    it("keep = 1 leaves the last one, whatever it does", function()
      open(two)
      w.a:silence()
      w.b:silence()
      for _ = 1, 6 do
        w.alice:call(uri)
      end
      assert.equal("held", status "a")
      assert.equal("up", status "b")
      assert.is_true(w.net:count("server.kept", { server = "b" }) >= 1)
    end)

    it("keep = 0 does not", function()
      open("keep = 0, " .. two)
      w.a:silence()
      w.b:silence()
      for _ = 1, 6 do
        w.alice:call(uri)
      end
      assert.equal("held", status "a")
      assert.equal("held", status "b")
    end)

    it("keep = 2 of two leaves both", function()
      open("keep = 2, " .. two)
      w.a:silence()
      for _ = 1, 6 do
        w.alice:call(uri)
      end
      assert.equal("up", status "a")
    end)

    it("with checks the server is down, and checks bring it back after the hold", function()
      open "passive = { fall = 2, hold = 10 }, failback = { hold = 0 }, check = { jitter = 0 }"
      w.net:run(1)
      w.a:on("INVITE", function() end) -- it answers OPTIONS and nothing else
      w.alice:call(uri)
      w.alice:call(uri)
      assert.equal("down", status "a")
      w.net:run(6)
      assert.equal("held", status "a") -- the checks say up, the hold says no
      assert.same({ "b" }, w.alice:call(uri).tried)
      w.net:run(6)
      assert.equal("up", status "a")
    end)

    it("counts nothing with passive = false", function()
      open "check = false, passive = false"
      w.a:silence()
      for _ = 1, 10 do
        w.alice:call(uri)
      end
      assert.equal("up", status "a")
    end)

    it("a phone that rings in vain is not the server's failure", function()
      open "check = false, passive = { fall = 1 }, attempt = { ring_timeout = 5 }"
      w.a:ring()
      assert.equal(408, w.alice:call(uri).code)
      assert.equal("up", status "a")
    end)

    it("what the caller cancels is not either", function()
      open "check = false, passive = { fall = 1 }"
      w.a:silence()
      local call = w.alice:invite(uri)
      w.net:run(0.5)
      w.alice:cancel(call)
      w.net:run(5)
      assert.equal(487, call.code)
      assert.equal("up", status "a")
    end)

    it("requests within dialogs are evidence too", function()
      open "check = false, passive = { fall = 2, hold = 10 }"
      local call = w.alice:call(uri)
      w.net:run(0.1)
      w.a:silence()
      w.alice:in_dialog(call, "INFO")
      w.net:run(40)
      w.alice:in_dialog(call, "INFO")
      w.net:run(33)
      assert.equal("held", status "a")
    end)
  end)

  describe("all_down:", function()
    local function both_down(option)
      open((option or "") .. "check = { jitter = 0 }")
      w.a:silence()
      w.b:silence()
      w.net:run(10)
    end

    it("= try (default) makes one bounded attempt", function()
      both_down()
      assert.equal("down", w.net.pools.pbx.state)
      local call = w.alice:call(uri)
      assert.equal(500, call.code)
      assert.same({ "a" }, call.tried)
      assert.equal(1.002, call.elapsed)
    end)

    it("= try reaches a server that only its checks do not", function()
      both_down()
      w.a:resume()
      w.a:on("OPTIONS", function() end)
      assert.equal("a", w.alice:call(uri).server)
    end)

    it("= try takes the one that is coming up before the others", function()
      both_down()
      w.b:resume()
      w.b:once("OPTIONS", 200)
      w.b:on("OPTIONS", nil)
      w.net:run_until(function() return w.net.pools.pbx.b.health == "rising" end, 5)
      assert.same({ "b" }, w.alice:call(uri).tried)
    end)

    it("= fail makes none", function()
      both_down "all_down = 'fail', "
      local call = w.alice:call(uri)
      assert.equal(480, call.code)
      assert.equal("relay: down", call.reason)
      assert.same({}, call.tried)
    end)

    it("never takes what an operator took out", function()
      open("check = false", [[
        sip.on("start", function() a:maint() b:drain() end)
      ]])
      local call = w.alice:call(uri)
      assert.equal(480, call.code)
      assert.equal("relay: down", call.reason)
    end)
  end)

  describe("orders:", function()
    it("drain takes no new dialogs, is still checked, and keeps its calls", function()
      open("check = { jitter = 0 }", [[ sip.after(3, function() a:drain("update") end) ]])
      w.net:run(2)
      local call = w.alice:call(uri)
      assert.equal("a", call.server)
      w.net:run(2)
      assert.equal("drain", status "a")
      assert.equal("b", w.alice:call(uri).server)
      assert.equal(200, w.alice:reinvite(call):wait().code)
      local before = #w.a:got "OPTIONS"
      w.net:run(5)
      assert.is_true(#w.a:got "OPTIONS" > before)
      assert.equal(200, w.alice:bye(call):wait().code)
    end)

    it("maint is not checked either; a good check never undoes an order", function()
      open("check = { jitter = 0 }", [[
        sip.after(3, function() a:maint("disk") end)
        sip.after(60, function() a:ready() end)
      ]])
      w.net:run(4)
      local before = #w.a:got "OPTIONS"
      w.net:run(50)
      assert.equal(before, #w.a:got "OPTIONS")
      assert.equal("maint", status "a")
      w.net:run(10)
      assert.equal("up", status "a")
      assert.equal("a", w.alice:call(uri).server)
    end)

    it("say who, why and what in the log", function()
      open("check = false", [[ sip.after(1, function() a:drain("update") end) ]])
      w.net:run(2)
      assert.equal(1, w.net:count("server.admin", {
        pool = "pbx", server = "a", from = "ready", to = "drain", reason = "update",
        who = function(who) return who:match "^script script.lua:%d+$" end,
      }))
    end)

    it("mark_down and mark_up are verdicts: checks go on from there", function()
      open("check = { jitter = 0 }, failback = { hold = 0 }", [[
        sip.after(3, function() a:mark_down("by hand") end)
      ]])
      w.net:run(3.1)
      assert.equal("down", status "a")
      w.net:run(5)
      assert.equal("up", status "a")
    end)

    it("mark_up is no failback: nothing holds the server, and nothing says so", function()
      open("check = { jitter = 0 }, failback = { manual = true }", [[
        sip.after(3, function() a:mark_down() end)
        sip.after(3.5, function() a:mark_up() end)
      ]])
      w.net:run(3.6)
      assert.equal("up", status "a")
      assert.equal(1, w.net:count("server.health", { server = "a", from = "down", to = "up" }))
      assert.equal(0, w.net:count("server.health", { hold = "manual" }))
    end)

    it("hold keeps away for so long; the latest end of all reasons counts", function()
      open("check = false", [[
        sip.on("start", function() a:hold(10, "one") a:hold(20, "two") a:hold(5, "two") end)
        sip.after(25, function() a:hold(100, "three") end)
        sip.after(30, function() a:hold(0, "three") end)
      ]])
      w.net:run(19.9)
      assert.equal("held", status "a")
      w.net:run(0.2)
      assert.equal("up", status "a")
      w.net:run(6)
      assert.equal("held", status "a")
      w.net:run(5)
      assert.equal("up", status "a")
    end)
  end)

  it("unknown ranks after up within its tier", function()
    w = policy.world { workers = workers, source = [[
      local sip = require "tandem"
      sip.listen { "udp:0.0.0.0:5060" }
      local pbx = sip.pool("pbx", { check = { jitter = 0, fall = 100 }, servers = {
        { name = "a", uri = "sip:10.0.0.1" }, { name = "b", uri = "sip:10.0.0.2" } } })
      sip.route(function(req) return req:relay(pbx) end)
    ]] }
    w.a:silence()
    w.net:run(5)
    assert.equal("unknown", w.net.pools.pbx.a.health)
    assert.same({ "b" }, w.alice:call(uri).tried)
  end)

  it("a challenge is remembered: INVITE, 407, INVITE meet the same one (semantics 24)",
    function()
      open "check = false"
      w.a:silence()
      w.b:once("INVITE", 407, { ["Proxy-Authenticate"] = 'Digest realm="x", nonce="1"' })
      local first = w.alice:call(uri)
      assert.equal(407, first.code)
      w.a:resume()
      local again = w.alice:call(uri, { again = first })
      assert.same({ "b" }, again.tried)
      w.net:run(61)
      assert.same({ "a" }, w.alice:call(uri, { again = again }).tried)
    end)

  it("a reload keeps what is known", function()
    open "check = { jitter = 0 }"
    w.a:silence()
    w.net:run(10)
    assert.equal("down", status "a")
    assert(w.net:reload())
    assert.equal("down", status "a")
    assert.same({ "b" }, w.alice:call(uri).tried)
  end)
end)
