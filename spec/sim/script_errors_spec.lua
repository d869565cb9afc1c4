-- What an error of a script costs, and what the operator hears of it.
local sim = require "support.sim"
local policy = require "support.policy"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

sim.for_workers("an error of the script", function(workers)
  after_each(sim.finish)

  local w

  local function open(handler, more)
    more = more or {}
    more.workers, more.handler = workers, handler
    w = policy.world(more)
  end

  local function ends(errors)
    w.net:finish { errors = errors or 1 }
  end

  describe("in a handler", function()
    it("is one event with place, request, message and traceback", function()
      open [[
        local function inner() error "oops" end
        inner()
      ]]
      local call = w.alice:call(uri)
      assert.equal(500, call.code)
      assert.equal("Server Internal Error", call.reason)
      local event = policy.failure(w.net)
      assert.equal("error", event.level)
      assert.equal("script.lua", event.script)
      assert.equal("route", event.where)
      assert.equal("INVITE", event.method)
      assert.equal(call.id, event.call_id)
      assert.equal("script.lua:13: oops", event.error)
      assert.is_nil(event.limit)
      local _, lines = event.trace:gsub("\n", "")
      assert.matches("^script.lua:13: oops\nstack traceback:\n", event.trace)
      assert.matches("script.lua:13: in [%w ]+'inner'", event.trace)
      assert.matches("script.lua:14: in function <script.lua:12>", event.trace)
      assert.is_true(lines >= 4)
      assert.equal(1, w.net:count "lua.error")
      ends()
    end)

    it("is a line that an operator can read", function()
      open "error 'oops'"
      w.alice:call(uri)
      local found
      for _, line in ipairs(w.net.logs) do
        found = found or (line:find("event=lua.error", 1, true) and line)
      end
      assert.matches('level=error event=lua.error script=script.lua where=route '
        .. 'method=INVITE call_id=%S+ error="script.lua:13: oops" trace="', found)
      ends()
    end)

    it("is counted, by how it ended", function()
      open [[
        if req.ruri.user == "spin" then while true do end end
        error "oops"
      ]]
      w.alice:call(uri)
      w.alice:call(uri)
      w.alice:call "sip:spin@example.com"
      assert.equal(2, w.net:metric "tandem_lua_errors_total")
      assert.equal(1, w.net:metric("tandem_lua_kills_total", { reason = "instructions" }))
      assert.equal(0, w.net:metric("tandem_lua_kills_total", { reason = "memory" }))
      assert.equal(0, w.net:metric("tandem_lua_kills_total", { reason = "cpu" }))
      ends(3)
    end)

    it("answers other requests with 500 too", function()
      open "error 'oops'"
      assert.equal(500, w.alice:ask("REGISTER", "sip:example.com").code)
      assert.equal("REGISTER", policy.failure(w.net).method)
      ends()
    end)

    it("answers once: retransmissions get the same 500, and run nothing", function()
      open "error 'oops'"
      local bytes = wire.bytes [[
        OPTIONS sip:bob@example.com SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKtwice
        Max-Forwards: 70
        From: <sip:alice@192.0.2.7>;tag=1
        To: <sip:bob@example.com>
        Call-ID: twice
        CSeq: 1 OPTIONS
        Content-Length: 0
      ]]
      w.alice:send(bytes)
      w.net:run(1)
      w.alice:send(bytes)
      w.net:run(1)
      local answers = w.alice:got(500)
      assert.equal(2, #answers)
      assert.equal(answers[1].bytes, answers[2].bytes)
      ends()
    end)

    it("after its verb changes nothing any more", function()
      open "req:reply(486) error 'oops'"
      assert.equal(486, w.alice:call(uri).code)
      w.net:run(1)
      assert.equal("486", wire.names(w.alice.received))
      ends()
    end)

    it("after a 2xx went up changes nothing any more", function()
      open "req:try(a) error 'oops'"
      local call = w.alice:call(uri)
      assert.equal("a", call.server)
      assert.equal(200, w.alice:bye(call):wait().code)
      ends()
    end)

    it("after the caller's CANCEL changes nothing any more", function()
      open "req:try(a) error 'oops'"
      w.a:ring()
      local call = w.alice:invite(uri)
      w.net:run(1)
      w.alice:cancel(call)
      w.net:run(1)
      assert.equal(487, call.code)
      ends()
    end)

    it("while a spawned try is open answers when that is over", function()
      open [[
        sip.spawn(function() req:try(a, { timeout = 2 }) end)
        sip.sleep(0.1)
        error "oops"
      ]]
      w.a:silence()
      local call = w.alice:call(uri)
      assert.equal(500, call.code)
      assert.equal(2.002, call.elapsed)
      ends()
    end)

    it("while a spawned try is open lets its 2xx up", function()
      open [[
        sip.spawn(function() req:try(a) end)
        sip.sleep(0.1)
        error "oops"
      ]]
      w.a:ring(3)
      local call = w.alice:call(uri)
      assert.equal("a", call.server)
      ends()
    end)

    it("may be any value", function()
      for text, message in pairs {
        ["error()"] = "nil", ["error({ code = 1 })"] = "table",
        ["error(setmetatable({}, { __tostring = function() return 'mine' end }))"] = "mine",
        ["error(setmetatable({}, { __tostring = function() error 'no' end }))"] = "",
        ["error(42)"] = "42", ["local x = nil; x.y = 1"] = "attempt to index a nil value",
        ["undefined_name()"] = "undefined variable 'undefined_name'",
        ["forgotten = 1"] = "assignment to the undeclared variable 'forgotten'",
        ["error(('x'):rep(100000))"] = "xxx",
      } do
        open(text)
        assert.equal(500, w.alice:call(uri).code)
        assert.matches(message, policy.failure(w.net).error)
        assert.is_true(#policy.failure(w.net).error < 5000)
        ends()
      end
    end)
  end)

  describe("about verbs", function()
    it("is a handler that ends with none", function()
      open "local res = req:try(a) local _ = res"
      w.a:answer("INVITE", 486)
      assert.equal(500, w.alice:call(uri).code)
      assert.equal("the handler ended without a verb (reply, relay, forward or drop)",
        policy.failure(w.net).error)
      ends()
    end)

    it("is none when the handler returns what relay returned", function()
      open("return req:relay(none)",
        { before = 'local none = sip.pool("none", { servers = {} })' })
      assert.equal(500, w.alice:call(uri).code)
      assert.is_nil(policy.failure(w.net))
    end)

    it("is a second one: it raises, the first one counts", function()
      for _, second in ipairs { "req:reply(500)", "req:relay(pbx)", "req:drop('x')",
        "req:try(b)" } do
        open("req:reply(486)\n" .. second)
        assert.equal(486, w.alice:call(uri).code)
        assert.matches("script.lua:14: req:%w+: the request was answered already, by reply",
          policy.failure(w.net).error)
        ends()
      end
    end)

    it("is a second one that comes from a task", function()
      open [[
        sip.spawn(function() sip.sleep(0.1) say(pcall(req.reply, req, 500)) end)
        req:reply(486)
        sip.sleep(1)
      ]]
      assert.equal(486, w.alice:call(uri).code)
      w.net:run(2)
      assert.matches("^false .*the request was answered already, by reply", w.said()[1])
    end)

    it("is one after the handler has ended", function()
      open [[
        sip.spawn(function() sip.sleep(1) say(pcall(req.reply, req, 500)) end)
        return req:reply(486)
      ]]
      assert.equal(486, w.alice:call(uri).code)
      w.net:run(2)
      assert.matches("^false .*transaction is gone", w.said()[1])
    end)
  end)

  describe("in a task", function()
    it("costs the request nothing, task:wait says nil, 'failed'", function()
      open [[
        local task = sip.spawn(function() error "oops" end)
        say(task:wait())
        say(task:wait())
        return req:relay(pbx)
      ]]
      assert.equal(200, w.alice:call(uri).code)
      assert.same({ "nil failed", "nil failed" }, w.said())
      assert.equal("spawned task", policy.failure(w.net).where)
      ends()
    end)
  end)

  describe("in a message handler of sip.on('stop')", function()
    it("stops nothing", function()
      open("return req:relay(pbx)", { after = [[
        sip.on("stop", function() say "first" error "oops" end)
        sip.on("stop", function() say "second" end)
      ]] })
      w.net.nodes[1]:stop()
      assert.same({ "first", "second" }, w.said())
    end)
  end)

  it("in an expect function costs that check, and nothing else", function()
    w = policy.world { workers = workers, source = [[
      local sip = require "tandem"
      sip.listen { "udp:0.0.0.0:5060" }
      local pbx = sip.pool("pbx", {
        servers = { { name = "a", uri = "sip:10.0.0.1" }, { name = "b", uri = "sip:10.0.0.2" } },
        check = { expect = function(res)
          if res.server.name == "a" then error "oops" end
          return true
        end },
      })
      sip.route(function(req) return req:relay(pbx) end)
    ]] }
    w.net:run(5.5)
    assert.equal("up", w.net.pools.pbx.b.health)
    assert.equal("unknown", w.net.pools.pbx.a.health)
    local errors = w.net:count "lua.error"
    assert.is_true(errors >= 2 and errors <= 4, errors)
    assert.equal(200, w.alice:call(uri).code)
    ends(errors)
  end)

  it("in no handler: who asks for a method nobody takes gets 405 with Allow", function()
    w = policy.world { workers = workers, source = [[
      local sip = require "tandem"
      sip.listen { "udp:0.0.0.0:5060" }
      sip.route("INVITE", function(req) return req:reply(480) end)
      sip.route("REGISTER", function(req) return req:reply(200) end)
    ]] }
    local asked = w.alice:ask("MESSAGE", uri)
    assert.equal(405, asked.code)
    local allow = asked.response:list "Allow"
    table.sort(allow)
    assert.same({ "ACK", "BYE", "CANCEL", "INVITE", "OPTIONS", "REGISTER" }, allow)
    assert.equal(480, w.alice:call(uri).code)
  end)
end)
