-- Semantics 5: req:relay, its last candidate, its budget and its answer.
local sim = require "support.sim"
local policy = require "support.policy"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

sim.for_workers("req:relay", function(workers)
  after_each(sim.finish)

  local w

  local function open(handler, more)
    more = more or {}
    more.workers, more.handler = workers, handler
    w = policy.world(more)
  end

  local function silence(...)
    for _, name in ipairs { ... } do
      w[name]:silence()
    end
  end

  describe("gives", function()
    it("the first server 4 s and the last one 64*T1", function()
      open "return req:relay(pbx)"
      silence("a", "b")
      local call = w.alice:invite(uri)
      w.net:run(40)
      assert.equal(500, call.code)
      assert.equal(36.002, call.elapsed)
      assert.same({ "a", "b" }, call.tried)
      assert.equal(4, #w.a:got "INVITE")
      assert.equal(7, #w.b:got "INVITE")
    end)

    it("a pool's only server 64*T1 too", function()
      open("return req:relay(pbx)", { servers = 1 })
      silence "a"
      assert.equal(32.002, w.alice:call(uri).elapsed)
      assert.equal(7, #w.a:got "INVITE")
    end)

    it("the last one what `last_timeout` says", function()
      open "return req:relay(pbx, { timeout = 1, last_timeout = 3 })"
      silence("a", "b")
      assert.equal(4.002, w.alice:call(uri).elapsed)
    end)

    it("the last one `last_timeout` instead of its retransmits", function()
      open "return req:relay(pbx, { retransmits = 1, last_timeout = 6 })"
      silence("a", "b")
      assert.equal(7.502, w.alice:call(uri).elapsed)
    end)

    it("nobody else more than two attempts, unless `attempts` says", function()
      open("return req:relay(pbx, { timeout = 1, last_timeout = 1 })", { servers = 3 })
      silence("a", "b", "c")
      local call = w.alice:call(uri)
      assert.same({ "a", "b" }, call.tried)
      assert.equal(2.002, call.elapsed)
      open("return req:relay(pbx, { timeout = 1, last_timeout = 1, attempts = 3 })",
        { servers = 3 })
      silence("a", "b", "c")
      assert.same({ "a", "b", "c" }, w.alice:call(uri).tried)
      open("return req:relay(pbx, { timeout = 1, last_timeout = 1 })",
        { servers = 3, pool = "attempt = { attempts = 1 }" })
      silence("a", "b", "c")
      assert.same({ "a" }, w.alice:call(uri).tried)
    end)

    it("a server of last resort no longer than the others", function()
      open("return req:relay(pbx)", { servers = 1, after = [[
        sip.on("start", function() a:mark_down() end)
      ]] })
      silence "a"
      local call = w.alice:call(uri)
      assert.same({ "a" }, call.tried)
      assert.equal(4.002, call.elapsed)
    end)
  end)

  describe("has a budget from receipt", function()
    local long = "{ timeout = 25, last_timeout = 32, attempts = 3%s }"

    it("of 60 s for an INVITE, which cuts the last attempt", function()
      open("return req:relay(pbx, " .. long:format "" .. ")", { servers = 3 })
      silence("a", "b", "c")
      w.alice:invite(uri)
      w.net:run(70)
      -- 25 + 25 + 10
      assert.same({ 50.002, 50.502, 51.502, 53.502, 57.502 }, wire.times(w.c:got "INVITE"))
      assert.same({ 60.002 }, wire.times(w.alice:got(500)))
    end)

    it("of 20 s for others: then 500, never 408", function()
      open "return req:relay(pbx)"
      silence("a", "b")
      local call = w.alice:ask("OPTIONS", uri)
      assert.equal(500, call.code)
      assert.equal(20.002, call.elapsed)
    end)

    it("of what `budget` says", function()
      open("return req:relay(pbx, " .. long:format ", budget = 30" .. ")", { servers = 3 })
      silence("a", "b", "c")
      local call = w.alice:call(uri)
      assert.equal(500, call.code)
      assert.equal(30.002, call.elapsed)
      assert.same({ "a", "b" }, call.tried)
    end)

    it("and starts nobody when it is spent", function()
      open [[
        sip.sleep(6)
        return req:relay(pbx, { budget = 5 })
      ]]
      local call = w.alice:call(uri)
      assert.equal(500, call.code)
      assert.equal(6.002, call.elapsed)
      assert.same({}, call.tried)
    end)

    it("that cuts retransmits too", function()
      open "return req:relay(pbx, { retransmits = 4, budget = 10, attempts = 2 })"
      silence("a", "b")
      local call = w.alice:call(uri)
      assert.equal(10.002, call.elapsed)
      assert.same({ "a" }, call.tried)
    end)

    it("that does not cut ringing", function()
      open "return req:relay(pbx, { budget = 5 })"
      w.a:ring(30)
      local call = w.alice:call(uri)
      assert.equal(200, call.code)
      assert.equal(30.004, call.elapsed)
    end)

    -- checklist 25: what happens before a provisional fits into the caller's Timer B
    it("and the caller has its 100 long before its own time is over", function()
      open "return req:relay(pbx)"
      silence("a", "b")
      local call = w.alice:invite(uri)
      w.net:run(40)
      assert.same({ 0.202 }, wire.times(w.alice:got(100)))
      assert.equal(500, call.code)
    end)
  end)

  describe("answers", function()
    it("with the best response when all fail: a 404 before a 503", function()
      open "return req:relay(pbx, { retry_on = { 404, 503 } })"
      w.a:answer("INVITE", 404)
      w.b:answer("INVITE", 503)
      local call = w.alice:call(uri)
      assert.equal(404, call.code)
      assert.equal("a", call.server)
      assert.same({ "a", "b" }, call.tried)
    end)

    it("with the response of the first when the second is silent", function()
      open "return req:relay(pbx, { retry_on = { 'local', 480 }, last_timeout = 2 })"
      w.a:answer("INVITE", 480)
      silence "b"
      local call = w.alice:call(uri)
      assert.equal(480, call.code)
      assert.equal("a", call.server)
    end)

    it("500 for a 503, as all do", function()
      open "return req:relay(pbx)"
      w.a:answer("INVITE", 503)
      w.b:answer("INVITE", 503, { ["Retry-After"] = "9" })
      local call = w.alice:call(uri)
      assert.equal(500, call.code)
      assert.same({ "a", "b" }, call.tried)
      assert.is_nil(call.headers["Retry-After"])
    end)

    it("500 when nobody did", function()
      open "return req:relay(pbx, { timeout = 1, last_timeout = 1 })"
      silence("a", "b")
      local call = w.alice:call(uri)
      assert.equal(500, call.code)
      assert.is_nil(call.server)
    end)

    it("with what is no reason to go on: 486, 404, 500, 600", function()
      open "return req:relay(pbx)"
      for _, code in ipairs { 486, 404, 500, 600 } do
        w.a:answer("INVITE", code)
        local call = w.alice:call(uri)
        assert.equal(code, call.code)
        assert.same({ "a" }, call.tried)
      end
    end)

    it("with the second server's 200 after whatever retry_on names", function()
      open("return req:relay(pbx)", { pool = 'retry_on = { "local", 500, 503 }' })
      w.a:answer("REGISTER", 500)
      local call = w.alice:ask("REGISTER", "sip:example.com")
      assert.equal(200, call.code)
      assert.same({ "a", "b" }, call.tried)
    end)

    it("500 at once when local failures are no reason to go on", function()
      open "return req:relay(pbx, { timeout = 1, retry_on = { 503 } })"
      silence "a"
      local call = w.alice:call(uri)
      assert.equal(500, call.code)
      assert.same({ "a" }, call.tried)
    end)

    it("after an ICMP error without any delay", function()
      open "return req:relay(pbx)"
      w.a:refuse()
      local call = w.alice:call(uri)
      assert.equal("b", call.server)
      assert.equal(0.006, call.elapsed)
    end)

    it("with a local 408 after the first server rang in vain; the second is left alone",
      function()
        open "return req:relay(pbx, { ring_timeout = 20 })"
        w.a:ring()
        local call = w.alice:call(uri)
        w.net:run(1)
        assert.equal(408, call.code)
        assert.equal(20.004, call.elapsed)
        assert.same({ "a" }, call.tried)
      end)
  end)

  describe("returns nil before anything was sent", function()
    local told = [[
      local ok, why = req:relay(pbx)
      say(ok, why)
      if not ok then return req:reply(480) end
    ]]

    it("and 'empty' for a pool without servers", function()
      open([[
        local ok, why = req:relay(none)
        say(ok, why)
        return ok, why
      ]], { before = 'local none = sip.pool("none", { servers = {}, check = false })' })
      assert.equal(500, w.alice:call(uri).code) -- what relay returned, returned
      assert.same({ "nil empty" }, w.said())
    end)

    it("and 'down' when all are, with all_down = fail; the request is still open", function()
      open(told, { pool = 'all_down = "fail"', after = [[
        sip.on("start", function() a:mark_down() b:maint() end)
      ]] })
      assert.equal(480, w.alice:call(uri).code)
      assert.same({ "nil down" }, w.said())
      assert.same({}, w.a.received)
    end)

    it("but true once it has answered", function()
      open(told)
      w.alice:call(uri)
      assert.same({ "true nil" }, w.said())
    end)
  end)

  describe("takes", function()
    it("one server, which then is the last candidate", function()
      open "return req:relay(b)"
      silence "b"
      local call = w.alice:invite(uri)
      w.net:run(40)
      assert.same({ "b" }, call.tried)
      assert.equal(7, #w.b:got "INVITE")
    end)

    it("a list of servers and URIs, in its order", function()
      open("return req:relay({ b, 'sip:carol@10.0.0.3', a }, { timeout = 1, attempts = 3 })",
        { before = 'sip.settings { trust = { "192.0.2.0/24" } }' })
      silence("b", "c")
      local call = w.alice:call(uri)
      assert.same({ "b", "c", "a" }, call.tried)
      assert.equal("sip:carol@10.0.0.3", w.c:got("INVITE")[1].uri)
      assert.equal(uri, w.a:got("INVITE")[1].uri)
    end)

    it("nothing else", function()
      open "return req:relay(42)"
      assert.equal(500, w.alice:call(uri).code)
      assert.matches("^script.lua:13: req:relay: a server or a SIP URI expected, got number",
        policy.failure(w.net).error)
      w.net:finish { errors = 1 }
    end)
  end)

  -- checklist 26: nothing has to be armed again after the first failure
  it("goes on as long as there are candidates and attempts", function()
    open("return req:relay(pbx, { timeout = 1, attempts = 9 })", { servers = 3 })
    w.a:answer("INVITE", 503)
    silence "b"
    w.c:answer("INVITE", 200, nil, 2)
    local call = w.alice:call(uri)
    assert.same({ "a", "b", "c" }, call.tried)
    assert.equal("c", call.server)
    assert.equal(3.006, call.elapsed)
  end)

  it("ends with the caller's CANCEL, and answers nothing itself", function()
    open "return req:relay(pbx)"
    silence "a"
    local call = w.alice:invite(uri)
    w.net:run(1)
    w.alice:cancel(call)
    w.net:run(40)
    assert.equal(487, call.code)
    assert.same({ "a" }, call.tried)
  end)
end)
