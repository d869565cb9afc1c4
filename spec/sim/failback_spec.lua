-- Semantics 22: when calls go back to the primary.
local sim = require "support.sim"
local policy = require "support.policy"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1", tier = 1 },
              { name = "b", uri = "sip:10.0.0.2", tier = 2 } },
  check = { interval = 2, timeout = 1, fall = 3, rise = 2, jitter = 0 },
  failback = %s })
local a, b = pbx:server "a", pbx:server "b"
local _ = { a, b }
sip.route(function(req) return req:relay(pbx, { timeout = 1, last_timeout = 1 }) end)
%s
]]

sim.for_workers("failback", function(workers)
  after_each(sim.finish)

  local w

  local function open(failback, after)
    w = policy.world { workers = workers, source = frame:format(failback, after or "") }
    w.net:run(1)
  end

  local function status(name)
    return w.net.pools.pbx[name].status
  end

  local function until_status(name, wanted)
    assert.is_true(w.net:run_until(function() return status(name) == wanted end, 400, 0.1),
      name .. " never was " .. wanted)
    return w.net.now
  end

  -- a falls and comes back; for how long it then is held.
  local function fall_and_return()
    w.a:silence()
    until_status("a", "down")
    w.a:resume()
    local back = until_status("a", "held")
    return until_status("a", "up") - back
  end

  local function near(seconds, actual)
    assert.near(seconds, actual, 0.2)
  end

  it("waits for `hold`: until then new calls go to the backup", function()
    open "{ hold = 20 }"
    w.a:silence()
    until_status("a", "down")
    w.a:resume()
    until_status("a", "held")
    w.net:run(19.7)
    assert.same({ "b" }, w.alice:call(uri).tried)
    assert.equal("backup", w.net.pools.pbx.state)
    w.net:run(0.4)
    assert.same({ "a" }, w.alice:call(uri).tried)
    assert.equal("up", w.net.pools.pbx.state)
  end)

  it("has a hold of 30 s by default", function()
    open "{}"
    near(30, fall_and_return())
  end)

  it("is at once with hold = 0", function()
    open "{ hold = 0 }"
    w.a:silence()
    until_status("a", "down")
    w.a:resume()
    until_status("a", "up")
    assert.same({ "a" }, w.alice:call(uri).tried)
  end)

  it("waits twice as long after each fall within hold_max, up to that", function()
    open "{ hold = 10, hold_max = 300 }"
    near(10, fall_and_return())
    near(20, fall_and_return())
    near(40, fall_and_return())
    near(80, fall_and_return())
  end)

  it("never waits longer than hold_max", function()
    open "{ hold = 50, hold_max = 120 }"
    near(50, fall_and_return())
    near(100, fall_and_return())
    near(100, fall_and_return()) -- the first fall is out of the window
  end)

  it("forgets the falls of before the last hold_max seconds", function()
    open "{ hold = 10, hold_max = 60 }"
    near(10, fall_and_return())
    w.net:run(120)
    near(10, fall_and_return())
  end)

  it("says the hold in the log", function()
    open "{ hold = 10 }"
    fall_and_return()
    fall_and_return()
    assert.equal(1, w.net:count("server.health", { server = "a", to = "up", hold = 10 }))
    assert.equal(1, w.net:count("server.health", { server = "a", to = "up", hold = 20 }))
  end)

  it("is not what the first verdict after a start is: no hold", function()
    open "{ hold = 20 }"
    assert.equal("up", status "a")
    assert.equal(0, w.net:count("server.health", { hold = function(hold) return hold end }))
  end)

  it("is not what an order is: mark_up has no hold", function()
    open("{ hold = 100 }", "sip.after(20, function() a:mark_up() end)")
    w.a:silence()
    until_status("a", "down")
    w.net:run_until(function() return w.net.now >= 19.99 end)
    w.a:resume()
    w.net:run(0.1)
    assert.equal("up", status "a")
  end)

  it("starts again when the server falls during its hold", function()
    open "{ hold = 20, hold_max = 300 }"
    w.a:silence()
    until_status("a", "down")
    w.a:resume()
    until_status("a", "held")
    w.net:run(5)
    w.a:silence()
    until_status("a", "down")
    w.a:resume()
    local back = until_status("a", "held")
    near(40, until_status("a", "up") - back)
  end)

  it("does not move dialogs", function()
    open "{ hold = 5 }"
    w.a:silence()
    until_status("a", "down")
    local call = w.alice:call(uri)
    assert.equal("b", call.server)
    w.a:resume()
    until_status("a", "up")
    assert.equal(200, w.alice:reinvite(call):wait().code)
    assert.equal(200, w.alice:bye(call):wait().code)
    assert.equal("INVITE ACK INVITE ACK BYE", wire.names(w.b.received):gsub("OPTIONS ", "")
      :gsub(" OPTIONS", ""))
  end)

  describe("hold is overridden", function()
    it("when there is nothing else: the held server is taken", function()
      open "{ hold = 100 }"
      w.a:silence()
      until_status("a", "down")
      w.a:resume()
      until_status("a", "held")
      w.b:silence()
      until_status("b", "down")
      local call = w.alice:call(uri)
      assert.same({ "a" }, call.tried)
      assert.equal(200, call.code)
      assert.equal("up", w.net.pools.pbx.state)
    end)

    it("within a call too, when the backup does not answer", function()
      open "{ hold = 100 }"
      w.a:silence()
      until_status("a", "down")
      w.a:resume()
      until_status("a", "held")
      w.b:on("INVITE", function() end)
      assert.same({ "b", "a" }, w.alice:call(uri).tried)
    end)

    it("but no other hold is", function()
      open("{ hold = 0 }", "sip.after(5, function() a:hold(100, 'retry_after') end)")
      w.net:run(5)
      w.b:on("INVITE", function() end)
      local call = w.alice:call(uri)
      assert.equal(500, call.code)
      assert.same({ "b" }, call.tried)
    end)
  end)

  it("holds of several reasons end with the latest", function()
    open("{ hold = 10 }", [[
      sip.on("server.health", function(e)
        if e.server.name == "a" and e.to == "up" and e.from == "rising" then
          a:hold(25, "warming up")
        end
      end)
    ]])
    near(25, fall_and_return())
  end)

  describe("a primary that flaps: 10 s up, 10 s down, 10 times", function()
    -- A call a second; when each one met the primary.
    local function call_for(seconds, met)
      for _ = 1, seconds do
        local call = w.alice:call(uri)
        assert.equal(200, call.code)
        for _, name in ipairs(call.tried) do
          if name == "a" then
            met[#met + 1] = w.net.now
          end
        end
        w.alice:bye(call)
        w.net:run(1 - w.net.now % 1)
      end
    end

    it("gets no call after its first fall before it was up for its hold", function()
      open "{ hold = 15 }"
      call_for(9, {})
      w.a:silence()
      until_status("a", "down")
      local met = {}
      for _ = 1, 9 do
        call_for(10, met)
        w.a:resume()
        call_for(10, met)
        w.a:silence()
      end
      assert.same({}, met)
      call_for(10, met)
      w.a:resume()
      local since = until_status("a", "held")
      local hold = w.net.pools.pbx.a.held_for
      assert.near(600, hold, 1) -- 15 s doubled ten times is more than hold_max
      w.net:run(hold - 10)
      call_for(20, met)
      assert(#met >= 9, #met)
      assert(met[1] >= since + hold)
    end)
  end)

  it("there is none for a primary that returns while the backup is down", function()
    open "{ hold = 100 }"
    w.a:silence()
    until_status("a", "down")
    w.b:silence()
    until_status("b", "down")
    w.a:resume()
    until_status("a", "up")
    assert.same({ "a" }, w.alice:call(uri).tried)
    w.b:resume()
    until_status("b", "up")
    assert.same({ "a" }, w.alice:call(uri).tried)
  end)
end)
