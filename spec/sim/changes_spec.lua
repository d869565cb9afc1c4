-- Who changed what, when and why: events at the start, history, orders with an end.
local sim = require "support.sim"
local policy = require "support.policy"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1", tier = 1 },
              { name = "b", uri = "sip:10.0.0.2", tier = 2 } },
  check = { interval = 2, timeout = 1, fall = 2, rise = 2, jitter = 0 },
  failback = { hold = 5 } })
local a, b = pbx:server "a", pbx:server "b"
local function say(...)
  local words = table.pack(...)
  for i = 1, words.n do words[i] = tostring(words[i]) end
  sip.log.info(table.concat(words, " "))
end
local _ = { a, b, say }
sip.route(function(req)
  if req.ruri.user == "drain" then a:drain("asked for", 20) return req:reply(404) end
  return req:relay(pbx)
end)
%s
]]

sim.for_workers("changes", function(workers)
  after_each(sim.finish)

  local w

  local function open(after)
    w = policy.world { workers = workers, source = frame:format(after or "") }
  end

  local function shown(name)
    return w.net.pools.pbx[name]
  end

  -- "what from>to why who" of each entry.
  local function history(name)
    local list = {}
    for _, change in ipairs(shown(name).history) do
      local what = change.seconds and ("%s %d"):format(change.what, change.seconds)
        or ("%s %s>%s"):format(change.what, change.from, change.to)
      list[#list + 1] = ("%s %s %s"):format(what, change.why, change.who)
    end
    return list
  end

  describe("at the start", function()
    local listening = [[
      for _, name in ipairs { "server.health", "pool.state", "pool.tier" } do
        sip.on(name, function(e)
          if e.reason == "start" then
            say(e.event, e.server and e.server.name or e.pool.name, e.from, e.to, e.who)
          end
        end)
      end
    ]]

    it("are events that say what is, once for everything", function()
      open(listening)
      w.net:run(1)
      assert.same({ "server.health a nil unknown start", "server.health b nil unknown start",
        "pool.state pbx nil up nil", "pool.tier pbx nil 1 nil" }, w.said())
    end)

    it("are in the log once per server, and not again after a reload", function()
      open(listening)
      w.net:run(1)
      local line = { pool = "pbx", server = "a", from = "none", to = "unknown", who = "start" }
      assert.equal(1, w.net:count("server.health", line))
      assert.equal(1, w.net:count("pool.state", { pool = "pbx", from = "none", to = "up" }))
      w.a:silence()
      w.net:run(10)
      assert(w.net:reload())
      w.net:run(0.1)
      assert.equal(1, w.net:count("server.health", { server = "a", from = "none" }))
      assert.equal(1, w.net:count("pool.state", { from = "none" }))
      -- but the handlers of the new script hear what is
      local said = w.said()
      assert.same({ "server.health a nil down start", "server.health b nil up start",
        "pool.state pbx nil backup nil", "pool.tier pbx nil 2 nil" },
        { table.unpack(said, #said - 3) })
    end)
  end)

  describe("are kept in the history", function()
    it("with what, from, to, why, who and when", function()
      open [[
        sip.after(20, function() a:hold(3, "busy") end)
        sip.after(24, function() b:maint "disk" end)
      ]]
      w.net:run(1)
      w.a:refuse()
      w.net:run(5)
      w.a:resume()
      w.net:run(19)
      assert.same({
        "health unknown>up 200 check", "health up>falling icmp_port check",
        "health falling>down icmp_port check", "health down>rising 200 check",
        "health rising>up 200 check", "hold 0 failback timer",
        "hold 3 busy script script.lua:19", "hold 0 busy timer",
      }, history "a")
      assert.same({ "health unknown>up 200 check", "admin ready>maint disk script script.lua:20" },
        history "b")
      local first = shown("b").history[1]
      assert.near(1767225600 + 0.002, first.time, 0.01) -- where the simulator's wall clock begins
    end)

    it("with no more of a reason than a line of the log has room for", function()
      open [[sip.after(1, function() a:drain(("é"):rep(20000)) end)]]
      w.net:run(1.5)
      local line = w.net.events[#w.net.events]
      for _, event in ipairs(w.net.events) do
        line = event.event == "server.admin" and event or line
      end
      assert.equal(("é"):rep(100), line.reason)
      assert.equal("drain", line.to)
    end)

    it("which a reload keeps", function()
      open()
      w.net:run(1)
      w.a:refuse()
      w.net:run(5)
      local before = history "a"
      assert(w.net:reload())
      w.net:run(0.5)
      assert.same(before, history "a")
    end)

    it("and is the last 50 of each server", function()
      open [[
        sip.after(1, function()
          for i = 1, 120 do b:hold(1, "reason " .. i) end
        end)
      ]]
      w.net:run(1.5)
      local list = history "b"
      assert.equal(50, #list)
      assert.matches("^hold 1 reason 71 ", list[1])
      assert.matches("^hold 1 reason 120 ", list[50])
    end)

    it("which scripts read in every worker", function()
      open [[
        sip.every(3, function()
          local list = b.history
          local last = list[#list]
          say(#list, last.what, last.to, last.who, pcall(function() list[1] = 1 end))
        end, { per_worker = true })
      ]]
      w.net:run(4)
      local said = w.said()
      assert.equal(workers, #said)
      for _, line in ipairs(said) do
        assert.matches("^1 health up check false ", line)
      end
    end)
  end)

  it("of holds are told when time ends them", function()
    open 'sip.after(3, function() a:hold(2, "one") a:hold(4, "two") end)'
    w.net:run(5.5)
    assert.equal(1, w.net:count("server.hold", { reason = "one", hold = 0, who = "timer" }))
    assert.equal(0, w.net:count("server.hold", { reason = "two", hold = 0 }))
    w.net:run(2)
    assert.equal(1, w.net:count("server.hold", { reason = "two", hold = 0, who = "timer" }))
  end)

  it("of a hold are told at its end, whenever it began", function()
    open 'sip.after(15.003, function() a:hold(60, "odd") end)' -- as a sum no whole microsecond
    w.net:run(75.1)
    assert.equal(1, w.net:count("server.hold", { reason = "odd", hold = 0, who = "timer" }))
  end)

  describe("by orders with an end", function()
    it("are undone by themselves", function()
      open 'sip.after(3, function() a:drain("update", 10) end)'
      w.net:run(4)
      assert.equal("drain", shown("a").status)
      assert.near(9, shown("a").admin_left, 0.01)
      assert.equal(1, w.net:count("server.admin", { to = "drain", ["for"] = 10 }))
      w.net:run(8.9)
      assert.equal("drain", shown("a").status)
      w.net:run(0.2)
      assert.equal("up", shown("a").status)
      assert.equal(1, w.net:count("server.admin",
        { from = "drain", to = "ready", who = "timer", reason = "its time is over" }))
    end)

    it("count from the last order", function()
      open [[
        sip.after(3, function() a:maint("one", 10) end)
        sip.after(8, function() a:maint("two", 20) end)
        sip.after(12, function() b:drain("one", 5) end)
        sip.after(14, function() b:drain("for good") end)
      ]]
      w.net:run(27)
      assert.equal("maint", shown("a").admin)
      w.net:run(2)
      assert.equal("ready", shown("a").admin)
      assert.equal("drain", shown("b").admin)
      assert.equal(3, w.net:count("server.admin", { server = "a" }))
    end)

    it("go on after a reload, and end in their time", function()
      open [[
        sip.on("start", function()
          if sip.shared("spec"):incr("starts") == 1 then a:drain("x", 10) end
        end)
      ]]
      w.net:run(4)
      assert(w.net:reload())
      w.net:run(5.9)
      assert.equal("drain", shown("a").status)
      w.net:run(0.3)
      assert.equal("up", shown("a").status)
    end)

    it("may come from any worker", function()
      open()
      for i = 1, 4 do
        w.alice:call("sip:drain@example.com", { call_id = "call" .. i })
      end
      w.net:run(0.1)
      assert.equal("drain", shown("a").status)
      w.net:run(20.2)
      assert.equal("ready", shown("a").admin)
    end)

    it("want a number of seconds", function()
      open [[
        sip.after(1, function()
          say(pcall(a.drain, a, "x", 0))
          say(pcall(a.maint, a, "x", "10"))
        end)
      ]]
      w.net:run(2)
      assert.matches("server:drain: a number of seconds expected, got 0", w.said()[1])
      assert.matches("server:maint: a number of seconds expected, got 10", w.said()[2])
    end)
  end)
end)

sim.for_workers("memory that runs out", function(workers)
  after_each(sim.finish)

  for _, which in ipairs { "lua", "core" } do
    it(("costs a check, but never the checks (%s)"):format(which), function()
      for n = 1, 100, 17 do
        local w = policy.world { workers = workers, source = frame:format [[
          sip.after(3, function() b:drain("x", 2) end)
        ]] }
        w.net:run(1.9)
        w.net.nodes[1]:fail_alloc(n, { which = which, row = 20 })
        w.net:run(4)
        w.net.nodes[1]:fail_alloc(0, { which = which })
        w.a:refuse()
        w.net:run(18)
        assert.equal("down", w.net.pools.pbx.a.health, n)
        w.a:resume()
        w.net:run(6)
        assert.equal("up", w.net.pools.pbx.a.health, n)
        assert.equal("ready", w.net.pools.pbx.b.admin)
        w.net:finish { errors = w.net:count "lua.error" }
      end
    end)
  end
end)
