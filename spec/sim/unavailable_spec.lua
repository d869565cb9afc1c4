-- Semantics 8: 503 moves the call, not the server, and does not go up.
local sim = require "support.sim"
local policy = require "support.policy"

local uri = "sip:bob@example.com"

sim.for_workers("a 503", function(workers)
  after_each(sim.finish)

  local w

  local function open(handler, more)
    more = more or {}
    more.workers, more.handler = workers, handler
    w = policy.world(more)
  end

  local function status(name)
    w.net:run(0.01)
    return w.net.pools.pbx[name].status
  end

  describe("that the script forwards", function()
    it("goes up as 500 without its Retry-After (checklist 21)", function()
      open "return req:try(a):forward()"
      w.a:answer("INVITE", 503, { ["Retry-After"] = "7", ["X-Why"] = "full" })
      local call = w.alice:call(uri)
      assert.equal(500, call.code)
      assert.equal("Server Internal Error", call.reason)
      assert.is_nil(call.headers["Retry-After"])
      assert.equal("full", call.headers["X-Why"])
      assert.equal("a", call.server)
    end)

    it("goes up as it is with keep_503", function()
      open "return req:try(a):forward { keep_503 = true }"
      w.a:answer("INVITE", 503, { ["Retry-After"] = "7" })
      local call = w.alice:call(uri)
      assert.equal(503, call.code)
      assert.equal("Service Unavailable", call.reason)
      assert.equal("7", call.headers["Retry-After"])
    end)

    it("to other requests likewise", function()
      open "return req:try(a):forward()"
      w.a:answer("REGISTER", 503)
      assert.equal(500, w.alice:ask("REGISTER", "sip:example.com").code)
    end)
  end)

  it("of our own is what the script says", function()
    open [[return req:reply(503, "Full", { headers = { ["Retry-After"] = "5" } })]]
    local call = w.alice:call(uri)
    assert.equal(503, call.code)
    assert.equal("5", call.headers["Retry-After"])
  end)

  describe("without Retry-After", function()
    it("moves the call and leaves the server", function()
      open("return req:relay(pbx)", { pool = "passive = { fall = 1 }" })
      w.a:answer("INVITE", 503)
      for _ = 1, 5 do
        local call = w.alice:call(uri)
        assert.same({ "a", "b" }, call.tried)
        assert.equal("b", call.server)
      end
      assert.equal("up", status "a")
      assert.equal(0, w.net:count "server.hold")
    end)
  end)

  describe("with Retry-After", function()
    -- RFC 3261 20.33
    it("keeps relay away from the server for so long", function()
      open "return req:relay(pbx)"
      w.a:once("INVITE", 503, { ["Retry-After"] = "20" })
      assert.equal("b", w.alice:call(uri).server)
      assert.equal("held", status "a")
      assert.same({ "b" }, w.alice:call(uri).tried)
      w.net:run(19.9)
      assert.same({ "b" }, w.alice:call(uri).tried)
      w.net:run(0.2)
      assert.same({ "a" }, w.alice:call(uri).tried)
      local hold = { server = "a", reason = "retry_after" }
      assert.equal(2, w.net:count("server.hold", hold)) -- its beginning and its end
      hold.hold, hold.who = 0, "timer"
      assert.equal(1, w.net:count("server.hold", hold))
    end)

    it("does so for 60 s at most", function()
      open "return req:relay(pbx)"
      w.a:once("INVITE", 503, { ["Retry-After"] = "86400 (in maintenance);duration=3" })
      w.alice:call(uri)
      w.net:run(59.9)
      assert.equal("held", status "a")
      w.net:run(0.2)
      assert.equal("up", status "a")
    end)

    it("that says nothing leaves the server", function()
      open "return req:relay(pbx)"
      for _, value in ipairs { "0", "soon", "-5", "99999999999999" } do
        w.a:once("INVITE", 503, { ["Retry-After"] = value })
        assert.equal("b", w.alice:call(uri).server)
        assert.equal("up", status "a", value)
      end
    end)

    it("in another answer leaves the server", function()
      open "return req:relay(pbx, { retry_on = { 480, 503 } })"
      w.a:once("INVITE", 480, { ["Retry-After"] = "20" })
      assert.equal("b", w.alice:call(uri).server)
      assert.equal("up", status "a")
    end)

    it("is the script's to obey when it loops itself", function()
      open [[
        local res = req:try(a)
        say(res.code, res.retry_after)
        if res.retry_after then res.server:hold(res.retry_after) end
        return req:relay(b)
      ]]
      w.a:answer("INVITE", 503, { ["Retry-After"] = "300" })
      w.alice:call(uri)
      assert.same({ "503 300" }, w.said())
      w.net:run(299)
      assert.equal("held", status "a")
      w.net:run(1)
      assert.equal("up", status "a")
    end)
  end)
end)
