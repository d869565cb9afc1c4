-- Semantics 22: who takes its calls back only when somebody says so: by hand, by a
-- function, or not as long as the other one serves.
local sim = require "support.sim"
local policy = require "support.policy"

local uri = "sip:bob@example.com"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
%s
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1", tier = 1 },
              { name = "b", uri = "sip:10.0.0.2", tier = %d } },
  check = { interval = 2, timeout = 1, fall = 1, rise = 1, jitter = 0 },
  %s })
local a, b = pbx:server "a", pbx:server "b"
local _ = { a, b }
sip.route(function(req)
  if req.ruri.user == "release" then pbx:failback() return req:reply(404) end
  return req:relay(pbx, { timeout = 1, last_timeout = 1 })
end)
%s
]]

sim.for_workers("failback", function(workers)
  after_each(sim.finish)

  local w

  -- opts: pool (options), before, after, tier (of b).
  local function open(opts)
    w = policy.world { workers = workers, source = frame:format(opts.before or "",
      opts.tier or 2, opts.pool, opts.after or "") }
    w.net:run(1)
  end

  local function status(name)
    return w.net.pools.pbx[name].status
  end

  local function until_status(name, wanted)
    assert.is_true(w.net:run_until(function() return status(name) == wanted end, 100, 0.1),
      name .. " never was " .. wanted)
  end

  local function fall(ua, name)
    ua:refuse()
    until_status(name, "down")
  end

  local function back(ua, name, wanted)
    ua:resume()
    until_status(name, wanted)
  end

  local function served_by()
    return w.alice:call(uri).server
  end

  describe("with manual = true", function()
    it("waits without end for the word, and says so", function()
      open { pool = "failback = { manual = true, hold = 5 }" }
      fall(w.a, "a")
      back(w.a, "a", "held")
      assert.equal(1, w.net:count("server.health", { server = "a", to = "up", hold = "manual" }))
      w.net:run(600)
      assert.equal("held", status "a")
      assert.equal("b", served_by())
      assert.is_nil(w.net.pools.pbx.a.held_for)
      assert.same({ { reason = "failback" } }, w.net.pools.pbx.a.holds)
    end)

    it("ends by pool:failback(), from any worker", function()
      open { pool = "failback = { manual = true }" }
      fall(w.a, "a")
      back(w.a, "a", "held")
      for i = 1, 4 do
        w.alice:call("sip:release@example.com", { call_id = "call" .. i })
      end
      w.net:run(0.1)
      assert.equal("up", status "a")
      assert.equal("a", served_by())
      assert.equal(1, w.net:count("server.hold", { server = "a", reason = "failback", hold = 0,
        who = function(who) return who:find "^script script.lua:%d+$" end }))
      assert.equal(1, w.net:count("pool.state", { from = "backup", to = "up" }))
    end)

    it("ends for one server by pool:failback(server), and by mark_up", function()
      open { pool = "failback = { manual = true }", after = [[
        sip.after(20, function() pbx:failback(b) end)
        sip.after(30, function() pbx:failback(a) end)
      ]] }
      fall(w.a, "a")
      back(w.a, "a", "held")
      w.net:run(20)
      assert.equal("held", status "a")
      w.net:run(10)
      assert.equal("up", status "a")
    end)

    it("ends only a failback hold", function()
      open { pool = "failback = { manual = true }", after = [[
        sip.after(3, function() a:hold(100, "busy") end)
        sip.after(5, function() pbx:failback() end)
      ]] }
      w.net:run(6)
      assert.equal("held", status "a")
      assert.equal(0, w.net:count("server.hold", { reason = "failback" }))
    end)

    it("is about taking calls back: the backup itself only waits for its hold", function()
      open { pool = "failback = { manual = true, hold = 5 }" }
      fall(w.b, "b")
      back(w.b, "b", "held")
      w.net:run(6)
      assert.equal("up", status "b")
    end)

    it("is also for the first of a tier when the order is that of the list", function()
      open { pool = "failback = { manual = true, hold = 5 }", tier = 1 }
      fall(w.a, "a")
      back(w.a, "a", "held")
      w.net:run(100)
      assert.equal("held", status "a")
      fall(w.b, "b") -- nothing else is left: a takes over
      assert.equal("up", status "a")
      back(w.b, "b", "held")
      w.net:run(6)
      assert.equal("up", status "b")
    end)

    it("is for who comes back first, too, while calls have taken it out", function()
      open { pool = "failback = { manual = true }, passive = { fall = 1, hold = 20 }, keep = 0" }
      fall(w.b, "b")
      w.a:refuse()
      served_by()
      w.a:resume()
      w.net:run(2.1)
      assert.equal("held", status "a") -- nobody serves, but it does not either
      back(w.b, "b", "up")
      w.net:run(60)
      assert.equal("held", status "a")
      assert.equal("b", served_by())
      fall(w.b, "b")
      assert.equal("up", status "a")
    end)

    it("is kept across a reload, and given up when the new script wants it otherwise", function()
      open { pool = "failback = { manual = true }" }
      fall(w.a, "a")
      back(w.a, "a", "held")
      assert(w.net:reload())
      w.net:run(100)
      assert.equal("held", status "a")
      assert(w.net:reload { source = frame:format("", 2, "failback = { hold = 5 }", "") })
      w.net:run(1)
      assert.equal("up", status "a")
    end)
  end)

  describe("with enabled = false", function()
    it("does not happen while what serves now goes on serving", function()
      open { pool = "failback = { enabled = false, hold = 0 }" }
      fall(w.a, "a")
      back(w.a, "a", "held")
      assert.equal(1, w.net:count("server.health", { server = "a", to = "up", hold = "disabled" }))
      w.net:run(600)
      assert.equal("b", served_by())
    end)

    it("lets the two change roles: traffic stays where it is", function()
      open { pool = "failback = { enabled = false, hold = 5 }" }
      fall(w.a, "a")
      back(w.a, "a", "held")
      fall(w.b, "b") -- a takes over, and its hold is over
      assert.equal("up", status "a")
      assert.equal("a", served_by())
      assert.equal(1, w.net:count("server.hold", { server = "a", reason = "failback", hold = 0,
        who = "need" }))
      back(w.b, "b", "held")
      w.net:run(6)
      assert.equal("up", status "b")
      assert.equal("a", served_by()) -- no move
      fall(w.a, "a")
      assert.equal("b", served_by())
      back(w.a, "a", "held")
      w.net:run(600)
      assert.equal("b", served_by())
    end)

    it("moves the calls no more often than servers fall", function()
      open { pool = "failback = { enabled = false, hold = 0 }" }
      for _ = 1, 3 do
        fall(w.a, "a")
        back(w.a, "a", "held")
        w.net:run(20)
        fall(w.b, "b")
        back(w.b, "b", "up")
        w.net:run(20)
      end
      assert.equal(6, w.net:count("pool.tier", { from = function(from) return from ~= "none" end }))
    end)
  end)

  describe("by a function", function()
    local asking = [[
      local allowed, asked = false, 0
      local function ask(pool, server)
        asked = asked + 1
        sip.log.info(("%s %s %d"):format(pool.name, server.name, asked))
        return allowed
      end
      sip.after(20, function() allowed = true end)
    ]]

    it("is asked at once and every second, until it says yes", function()
      open { pool = "failback = ask", before = asking }
      fall(w.a, "a")
      assert.same({}, w.said())
      back(w.a, "a", "held")
      w.net:run(0.05)
      assert.same({ "pbx a 1" }, w.said())
      assert.equal(1, w.net:count("server.health", { server = "a", to = "up", hold = "asked" }))
      w.net:run(3)
      assert.same({ "pbx a 1", "pbx a 2", "pbx a 3", "pbx a 4" }, w.said())
      w.net:run(21 - w.net.now)
      assert.equal("up", status "a")
      assert.equal("a", served_by())
      local n = #w.said()
      w.net:run(30)
      assert.equal(n, #w.said())
      assert.equal(1, w.net:count("server.hold", { server = "a", hold = 0, who = "failback" }))
    end)

    it("that says yes has no hold", function()
      open { pool = "failback = function() return true end" }
      fall(w.a, "a")
      w.a:resume()
      w.net:run(2.1)
      assert.equal("up", status "a")
    end)

    it("stops being asked when the server falls again, or has taken over", function()
      open { pool = "failback = ask", before = asking }
      fall(w.a, "a")
      back(w.a, "a", "held")
      w.net:run(2)
      fall(w.a, "a")
      w.net:run(1.1)
      local n = #w.said()
      w.net:run(5)
      assert.equal(n, #w.said())
      back(w.a, "a", "held")
      fall(w.b, "b")
      assert.equal("up", status "a")
    end)

    it("that raises keeps the server held, and is an error of the script", function()
      open { pool = "failback = function() error 'oops' end" }
      fall(w.a, "a")
      back(w.a, "a", "held")
      w.net:run(10)
      assert.equal("held", status "a")
      local errors = w.net.nodes[1]:errors() -- not all of them are in the log
      assert.is_true(errors >= 10, errors)
      assert.matches("oops", policy.failure(w.net).message or policy.failure(w.net).error)
      w.net:finish { errors = errors }
    end)

    it("cannot wait", function()
      open { pool = "failback = function() sip.sleep(1) return true end" }
      fall(w.a, "a")
      back(w.a, "a", "held")
      local failure = policy.failure(w.net)
      assert.matches("a failback function", failure.message or failure.error)
      w.net:run(1)
      w.net:finish { errors = w.net:count "lua.error" }
    end)

    it("is asked again after a reload", function()
      open { pool = "failback = ask", before = asking }
      fall(w.a, "a")
      back(w.a, "a", "held")
      w.net:run(1)
      assert(w.net:reload())
      w.net:run(30)
      assert.equal("up", status "a")
    end)
  end)

  it("never is needed when nobody else could take the calls", function()
    open { pool = "failback = { hold = 300 }" }
    fall(w.a, "a")
    fall(w.b, "b")
    assert.equal("down", w.net.pools.pbx.state)
    w.a:resume()
    w.net:run(2.1)
    assert.equal("up", status "a")
    back(w.b, "b", "held") -- somebody serves: that is a return as any other
  end)

  it("is not a hop to the backup and back: who took over stays", function()
    open { pool = "failback = { hold = 30 }" }
    fall(w.a, "a")
    back(w.a, "a", "held")
    w.net:run(10)
    fall(w.b, "b")
    assert.equal("a", served_by())
    w.b:resume() -- with a still held, calls would go back to b for a while
    for _ = 1, 20 do
      w.net:run(3)
      assert.equal("a", served_by())
    end
  end)

  it("of a wrong server is a mistake of the script", function()
    open { pool = "failback = { manual = true }", after = [[
      local other = sip.pool("other", { servers = {}, check = false })
      sip.after(1, function()
        sip.log.info(tostring(select(2, pcall(other.failback, other, a))))
        sip.log.info(tostring(select(2, pcall(pbx.failback, pbx, "a"))))
      end)
    ]] }
    w.net:run(2)
    assert.matches("pool:failback: a server of pool 'other' expected", w.said()[1])
    assert.matches("pool:failback: a server of pool 'pbx' expected", w.said()[2])
  end)
end)
