-- A node dies while calls are up: whoever is in one asks the other node from then on,
-- which has never seen it and needs nothing but what is in the messages (semantics 15,
-- 16; node-death.md).
local sim = require "support.sim"
local takeover = require "support.takeover"
local wire = require "support.wire"
local ipairs = ipairs

local uri = takeover.uri
local kinds = {
  { name = "UDP" }, { name = "UDP and IPv6", v6 = true },
  { name = "UDP to servers of TCP", to = "tcp" },
}

sim.for_workers("a node dies while a call is up:", function(workers)
  after_each(sim.finish)

  local w

  local function open(opts)
    opts = opts or {}
    opts.workers = workers
    w = takeover.open(opts)
  end

  -- A call of alice's that is up and acknowledged.
  local function call_up()
    local call = w.alice:call(uri)
    assert.equal("up", call.state)
    w.net:run(0.5)
    return call
  end

  local function assert_clean()
    assert.equal(0, w.two:metric "tandem_bad_cookies_total")
    assert.equal(1, w:transactions "INVITE")
    assert.equal(0, w.a.unacked + w.b.unacked)
  end

  for _, kind in ipairs(kinds) do
    for _, who in ipairs { "caller", "server" } do
      it(("%s, the %s re-INVITEs, asks and hangs up"):format(kind.name, who), function()
        open { v6 = kind.v6, to = kind.to }
        local call = call_up()
        w:die()
        local asks, hears = w.alice, w.a
        if who == "server" then
          asks, hears = w.a, w.alice
        end
        for _, method in ipairs { "INVITE", "INFO", "UPDATE", "BYE" } do
          -- A connection to a machine that is gone is found out by who uses it; what is
          -- sent then is sent again on the next one.
          local asked = asks:in_dialog(call, method):wait()
          if asked.error == "transport" then
            asked = asks:in_dialog(call, method):wait()
          end
          assert.equal(200, asked.code, method)
          w.net:run(0.1)
          assert.is_nil(hears:got(method)[#hears:got(method)]:header "Route")
        end
        assert.equal(0, #w.b.received)
        assert_clean()
      end)
    end
  end

  for _, policy in ipairs { "failover.lua", "relay", "weighted", "hash" } do
    it("hung up by either side, " .. policy, function()
      open { policy = policy }
      local first, second = call_up(), w.carol:call(uri)
      w.net:run(0.1)
      w:die()
      local at = { a = w.a, b = w.b }
      assert.equal(200, w.alice:bye(first):wait().code)
      assert.equal(200, at[second.server]:bye(second):wait().code)
      assert.equal(1, #at[first.server]:got "BYE")
      assert.equal(1, #w.carol:got "BYE")
      assert.equal(0, w.two:metric "tandem_bad_cookies_total")
    end)
  end

  it("a BYE that was under way is repeated, and one BYE is what the server sees", function()
    open()
    local call = call_up()
    w.a:silence()
    local bye = w.alice:bye(call)
    w.net:run(0.2) -- it is at the server, which has not answered yet
    w:die()
    w.a:resume()
    assert.equal(200, bye:wait().code)
    assert(#w.a:got "BYE" > 1)
    assert.equal(1, #wire.branches(w.a:got "BYE"))
  end)

  it("glare: both hang up at once, each through another node's eyes", function()
    open()
    local call = call_up()
    w:die()
    local one, other = w.alice:bye(call), w.a:bye(call)
    one:wait()
    other:wait()
    assert.equal(200, one.code)
    assert.equal(200, other.code)
    assert_clean()
  end)

  describe("and with it the server", function()
    local function share(opts)
      open { pool = "shared_dialogs = true" .. (opts or "") }
      w.b:share_dialogs(w.a)
    end

    for _, method in ipairs { "BYE", "INVITE", "INFO" } do
      it("its sibling gets the " .. method, function()
        share()
        local call = call_up()
        w.a:power_off()
        w:die()
        local asked = w.alice:in_dialog(call, method):wait()
        assert.same({ "a", "b" }, asked.tried)
        assert.equal(200, asked.code)
        w.net:run(0.1)
      end)
    end

    it("a refused port moves it at once", function()
      share()
      local call = call_up()
      w.a:refuse()
      w:die()
      local bye = w.alice:bye(call):wait()
      assert.same({ "a", "b" }, bye.tried)
      assert.equal(200, bye.code)
      assert(bye.elapsed < 0.1, bye.elapsed)
    end)

    it("silence moves it when the server has had its time", function()
      share()
      local call = call_up()
      w.a:silence()
      w:die()
      local bye = w.alice:bye(call):wait()
      assert.equal(200, bye.code)
      assert.equal("b", bye.server)
    end)
  end)

  it("the ACK of a 2xx, which comes after it, gets through", function()
    open()
    w.net:link(w.alice, w.one, { delay = 0.05 })
    w.a:on("INVITE", function(_, reply) reply(200) end)
    local call = w.alice:invite(uri, { ack = false })
    w.net:run_until(function() return call.done end, 5)
    w:die()
    w.alice:ack(call)
    w.net:run(1)
    assert.equal(1, #w.a:got "ACK")
    assert.equal(200, w.alice:bye(call):wait().code)
    assert_clean()
  end)

  describe("calls to phones:", function()
    it("the token in Path leads to a phone of UDP, whoever wrote it", function()
      open { pool = 'path = "always"', handler = "relay" }
      local registered = w.alice:ask("REGISTER", "sip:example.com")
      assert.equal(200, registered.code)
      local path = w.a:got("REGISTER")[1]:header "Path"
      assert.is_string(path)
      w:die()
      local call = w.a:call("sip:alice@192.0.2.7", { route = { path } })
      assert.equal(200, call.code)
      assert.equal(1, #w.alice:got "INVITE")
      w.net:run(0.1)
      assert.equal(200, w.alice:bye(call):wait().code)
      assert.equal(1, #w.a:got "BYE")
    end)

    it("a call of the server's that is up, hung up by either side", function()
      open { handler = "relay" }
      for _, by in ipairs { "server", "phone" } do
        local call = w.a:call "sip:alice@192.0.2.7"
        assert.equal(200, call.code)
        w.net:run(0.1)
        if w.one.workers > 0 then
          w:die()
        end
        local who = by == "server" and w.a or w.alice
        assert.equal(200, who:bye(call):wait().code)
      end
      assert.equal(0, w.two:metric "tandem_bad_cookies_total")
    end)
  end)
end)
