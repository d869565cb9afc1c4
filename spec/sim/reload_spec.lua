-- Reloading: another generation of the script takes over, and the one before keeps
-- the requests it began until they end.
local policy = require "support.policy"
local sim = require "support.sim"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
%s
local pbx = sip.pool("pbx", { servers = { %s }, check = %s, passive = { fall = 1000 }, %s })
sip.route(function(req)
%s
end)
%s
]]

local addresses = { a = "10.0.0.1", b = "10.0.0.2", c = "10.0.0.3" }

-- A script: `servers` are names, or { name, address, more }.
local function source(o)
  local list = {}
  for tier, server in ipairs(o.servers or { "a", "b" }) do
    local name = server[1] or server
    list[tier] = ('{ name = "%s", uri = "sip:%s", tier = %d, %s }'):format(name,
      server[2] or addresses[name], tier, server[3] or "")
  end
  return frame:format(o.before or "", table.concat(list, ", "), o.check or "false", o.pool or "",
    o.handler or "return req:relay(pbx, { timeout = 2 })", o.after or "")
end

local refusing = source { handler = 'return req:reply(480, "New")' }

local function events(net, name)
  local list = {}
  for _, event in ipairs(net.events) do
    if event.event == name then
      list[#list + 1] = event
    end
  end
  return list
end

sim.for_workers("a reload", function(workers)
  local w, net, a, b, alice

  local function open(o)
    w = policy.world { source = source(o or {}), workers = workers }
    net, a, b, alice = w.net, w.a, w.b, w.alice
    net:run(5)
    return w
  end

  local function retired()
    return net.nodes[1].retired
  end

  after_each(sim.finish)

  describe("and a request that is open", function()
    it("leaves it to the script that began it: it rings, and is answered", function()
      open()
      a:ring(6)
      local call = alice:invite "sip:bob@example.com"
      net:run(2)
      assert(net:reload { source = refusing })
      assert.equal(1, retired())
      assert.equal(480, alice:call("sip:bob@example.com").code)
      call:wait()
      assert.equal(200, call.code)
      assert.equal("a", call.server)
      net:run(1)
      assert.equal(0, retired())
      net:finish()
    end)

    it("lets it fail over to the servers that script has", function()
      open()
      a:silence()
      local call = alice:invite "sip:bob@example.com"
      net:run(1)
      assert(net:reload { source = source { servers = { "c" } } })
      call:wait()
      assert.equal(200, call.code)
      assert.same({ "a", "b" }, call.tried)
      assert.equal("c", alice:call("sip:bob@example.com").server)
      net:finish()
    end)

    it("lets the caller end it", function()
      open()
      a:ring()
      local call = alice:invite "sip:bob@example.com"
      net:run(1)
      assert(net:reload { source = refusing })
      alice:cancel(call)
      call:wait()
      assert.equal(487, call.code)
      assert.equal(1, #a:got "CANCEL")
      net:run(1)
      assert.equal(0, retired())
      net:finish()
    end)

    it("goes on with its on_response, its tasks and its sleep", function()
      open { handler = [[
        local task = sip.spawn(function()
          sip.sleep(4)
          return "from the task"
        end)
        local res = req:try(pbx:server "a", { on_response = function(response)
          response:set_header("X-Gen", "1")
        end })
        sip.log.info(task:wait())
        return res:forward()]] }
      a:ring(2)
      local call = alice:invite "sip:bob@example.com"
      net:run(1)
      assert(net:reload { source = refusing })
      call:wait()
      assert.equal("1", call.response:header "X-Gen")
      net:run(40) -- as long as its 200 may have to be repeated
      assert.same({ "from the task" }, w.said())
      assert.equal(0, retired())
      net:finish()
    end)

    it("stops the tasks it leaves behind when it has ended", function()
      open { handler = [[
        sip.spawn(function()
          while true do
            sip.sleep(1)
            sip.log.info "still here"
          end
        end)
        return req:relay(pbx)]] }
      a:ring(3)
      local call = alice:invite "sip:bob@example.com"
      net:run(0.5)
      assert(net:reload { source = refusing })
      call:wait()
      net:run(20)
      assert.equal(0, retired())
      assert.is_true(#w.said() <= 4)
      net:finish()
    end)

    it("hears its holds in the script that came", function()
      open { handler = [[
        local res = req:try(pbx:server "a")
        pbx:server("a"):hold(100, "asked to")
        return res:forward()]] }
      a:answer("INVITE", 503, nil, 2)
      local call = alice:invite "sip:bob@example.com"
      net:run(1)
      assert(net:reload { source = source {} })
      call:wait()
      net:run(1)
      assert.equal("held", net.pools.pbx.a.status)
      net:finish()
    end)

    it("adds what it counts to the counter of the script that came", function()
      local counting = { before = 'local n = sip.counter("my_calls_total", "Calls.")',
        handler = "req:relay(pbx); n:add(1)" }
      open(counting)
      alice:call "sip:bob@example.com"
      a:ring(3)
      local call = alice:invite "sip:bob@example.com"
      net:run(1)
      assert(net:reload { source = source(counting) })
      assert.equal(1, net:metric "my_calls_total")
      call:wait()
      net:run(1)
      assert.equal(2, net:metric "my_calls_total")
      net:finish()
    end)

    it("tells its events to the script that came", function()
      open()
      a:silence()
      local call = alice:invite "sip:bob@example.com"
      net:run(1)
      assert(net:reload { source = source {
        after = 'sip.on("branch.failed", function(e) sip.log.info(e.server.name) end)' } })
      call:wait()
      net:run(1)
      assert.same({ "a" }, w.said())
      net:finish()
    end)
  end)

  it("is refused while eight earlier scripts have requests, and then no more", function()
    open()
    a:ring(100)
    local calls = {}
    for i = 1, 8 do
      calls[i] = alice:invite("sip:bob@example.com", { call_id = "call-" .. i % 2 })
      net:run(0.2)
      assert(net:reload { source = source { before = "-- " .. i } })
    end
    calls[9] = alice:invite("sip:bob@example.com", { call_id = "call-1" })
    net:run(0.2)
    local ok, why = net:reload()
    if ok then -- with two workers none need have all eight
      assert.is_true(workers > 1)
    else
      assert.matches("8 earlier generations still have requests", why)
      assert.equal(why, events(net, "config.rejected")[1].reason)
    end
    for _, call in ipairs(calls) do
      call:wait()
      assert.equal(200, call.code)
    end
    net:run(1)
    assert.equal(0, retired())
    assert(net:reload())
    net:finish()
  end)

  it("needs no room for a script that has no request", function()
    open()
    for _ = 1, 20 do
      assert(net:reload())
    end
    assert.equal(21, net.nodes[1].generation)
    net:finish()
  end)

  it("silences the timers, events and tasks of the script that went", function()
    open { after = [[
      sip.every(1, function() sip.log.info "tick" end)
      sip.after(7, function() sip.log.info "late" end)
      sip.on("start", function() sip.sleep(8); sip.log.info "slept" end)
      sip.on("server.hold", function() sip.log.info "hold" end)
      sip.on("stop", function() sip.log.info "stop" end)]] }
    assert(net:reload { source = source { after = [[
      sip.after(3, function() sip.shared("x"):set("y", 1) end)
      sip.on("start", function() sip.sleep(5) end)]] } })
    local said = #w.said()
    assert.equal("stop", w.said()[said])
    net:run(20)
    assert.equal(said, #w.said())
    net:finish()
  end)

  it("leaves one set of checks", function()
    open { check = "{ interval = 2 }" }
    net:run(20)
    local before = #a:got "OPTIONS"
    net:run(20)
    local each = #a:got "OPTIONS" - before
    for _ = 1, 5 do
      assert(net:reload())
    end
    before = #a:got "OPTIONS"
    net:run(20)
    assert.near(each, #a:got "OPTIONS" - before, 2)
    net:finish()
  end)

  it("ignores the answer to a check of the script that went", function()
    open { check = "{ interval = 2, timeout = 1.5, fall = 1 }" }
    a:answer("OPTIONS", 500, nil, 1)
    net:run_until(function() return #a:got "OPTIONS" > 3 end)
    assert(net:reload { source = source { check = "{ interval = 600 }" } })
    a:answer("OPTIONS", 200)
    net:run(30)
    assert.equal("up", net.pools.pbx.a.health)
    net:finish()
  end)

  describe("and the servers", function()
    it("says which came, went and changed", function()
      open()
      assert(net:reload { source = source {
        servers = { { "a", nil, "weight = 7" }, "c" }, pool = "failback = { hold = 5 }",
        before = 'sip.settings { domains = { "example.com" } }' } })
      local event = events(net, "reload")[1]
      assert.equal(2, event.generation)
      assert.equal("pbx/c", event.added)
      assert.equal("pbx/b", event.removed)
      assert.equal("pbx.failback,pbx/a.weight,settings.domains", event.changed)
      assert(net:reload())
      assert.is_nil(events(net, "reload")[2].changed)
      net:finish()
    end)

    it("sends nothing new to one that went, and its calls go on to their end", function()
      open()
      local call = alice:call "sip:bob@example.com"
      assert.equal("a", call.server)
      assert(net:reload { source = source { servers = { "b" } } })
      assert.equal("b", alice:call("sip:bob@example.com").server)
      alice:bye(call)
      net:run(1)
      assert.equal(1, #a:got "BYE")
      local other = alice:call "sip:bob@example.com"
      assert.equal("b", other.server)
      assert(net:reload { source = source { servers = { "a" } } })
      b:bye(other)
      net:run(1)
      assert.equal(1, #alice:got "BYE")
      net:run(40)
      net:finish()
    end)

    it("counts the calls of one that went to their end", function()
      open()
      local first = alice:call "sip:bob@example.com"
      local second = alice:call "sip:bob@example.com"
      assert.equal(2, net.pools.pbx.a.calls)
      assert(net:reload { source = source { servers = { "b" } } })
      alice:bye(first)
      net:run(1)
      assert(net:reload { source = source {} })
      assert.equal(1, net.pools.pbx.a.calls)
      a:bye(second)
      net:run(1)
      assert.equal(0, net.pools.pbx.a.calls)
      net:run(40)
      net:finish()
    end)

    it("finds one that comes back as it was", function()
      open { after = 'sip.after(1, function() pbx:server("b"):drain("for a while") end)' }
      assert(net:reload { source = source { servers = { "a" } } })
      assert(net:reload { source = source {} })
      assert.equal("drain", net.pools.pbx.b.status)
      assert.equal("for a while", net.pools.pbx.b.admin_why)
      net:finish()
    end)

    it("keeps health, holds and history of the others", function()
      open { check = "{ interval = 2 }", after = [[
        sip.after(4, function() pbx:server("b"):hold(500, "busy") end)]] }
      a:refuse()
      net:run(20)
      local since = net.pools.pbx.a.since
      assert.equal("down", net.pools.pbx.a.status)
      local changes = net:count("server.health")
      assert(net:reload { source = source {
        check = "{ interval = 2 }", servers = { "a", "b", "c" } } })
      assert.equal("down", net.pools.pbx.a.health)
      assert.equal(since, net.pools.pbx.a.since)
      assert.equal(1, net.pools.pbx.a.falls)
      assert.equal("held", net.pools.pbx.b.status)
      assert.equal("unknown", net.pools.pbx.c.health)
      net:run(20)
      assert.equal(changes + 2, net:count "server.health") -- c came, and came up
      net:finish()
    end)

    it("knows nothing of one that has another address now, but what was ordered", function()
      open { check = "{ interval = 2 }", after = [[
        sip.after(4, function() pbx:server("a"):hold(500, "busy"); pbx:server("b"):drain() end)]] }
      a:refuse()
      net:run(20)
      assert.equal("down", net.pools.pbx.a.status)
      assert(net:reload { source = source { check = "{ interval = 600 }",
        servers = { { "a", "10.0.0.3" }, { "b", "10.0.0.4" } } } })
      local server = net.pools.pbx.a
      assert.same({ "unknown", 0, 0 }, { server.health, server.held_for, server.falls })
      assert.equal("drain", net.pools.pbx.b.admin)
      net:run(1)
      assert.equal("up", net.pools.pbx.a.status)
      net:finish()
    end)
  end)

  describe("and the settings", function()
    it("takes trust from the script that came", function()
      local handler = 'return req:relay("sip:x@10.0.0.3")' -- which is no server of ours
      open { handler = handler }
      assert.equal(500, alice:call("sip:bob@elsewhere.example").code)
      assert(net:reload { source = source { handler = handler,
        before = 'sip.settings { trust = { "192.0.2.7/32" } }' } })
      assert.equal(200, alice:call("sip:bob@elsewhere.example").code)
      assert(net:reload { source = source { handler = handler } })
      assert.equal(500, alice:call("sip:bob@elsewhere.example").code)
      net:finish { errors = 2 }
    end)

    it("takes timers and the time of the 100 from it", function()
      open()
      assert(net:reload { source = source {
        before = 'sip.settings { timers = { t1 = 0.1 }, trying = "rfc" }' } })
      a:silence()
      local call = alice:call "sip:bob@example.com"
      assert.equal("b", call.server)
      -- 0, 0.1, 0.3, 0.7, 1.5 s
      assert.equal(5, #a:got "INVITE")
      assert.equal(100, call.provisionals[1])
      net:finish()
    end)

    it("says what stays as it was until a restart", function()
      open()
      local other = source { before = 'sip.settings { workers = 3, state_dir = "/x" }' }
        :gsub("5060", "5070", 1)
      assert(net:reload { source = other })
      local names = {}
      for _, event in ipairs(events(net, "reload.kept")) do
        names[#names + 1] = event.setting
      end
      assert.same({ "workers", "listen", "state_dir" }, names)
      assert.equal(200, alice:call("sip:bob@example.com").code)
      net:finish()
    end)
  end)

  describe("that fails", function()
    local broken = {
      ["does not parse"] = { "oops(", "script.lua:1:" },
      ["has a wrong option"] = { source { pool = "failbak = 1" }, "script.lua:%d+: pool 'pbx'" },
      ["needs a module that is not there"] = { source { before = 'require "x"' }, "'x' not found" },
      ["declares nothing"] = { "return 1", "nothing is declared" },
      ["fails at the start"] = { source {
        after = 'require("tandem.core").start(function() error("not today") end)' }, "not today" },
    }
    for what, case in pairs(broken) do
      it(what .. ": changes nothing, and says why", function()
        open { check = "{ interval = 2 }" }
        local call = alice:call "sip:bob@example.com"
        local ok, why = net:reload { source = case[1] }
        assert.is_nil(ok)
        assert.matches(case[2], why)
        assert.equal(why, events(net, "config.rejected")[1].reason)
        assert.equal(1, events(net, "config.rejected")[1].generation)
        assert.equal(0, retired())
        assert.equal(200, alice:call("sip:bob@example.com").code)
        alice:bye(call)
        net:run(10)
        assert.equal("up", net.pools.pbx.a.status)
        net:finish()
      end)
    end

    it("because the declarations depend on the worker", function()
      if workers == 1 then
        return
      end
      open()
      local ok, why = net:reload { source = source {
        before = 'local n = require("tandem.core").worker()',
        servers = { "a", { "b", nil, "weight = 1 + n" } } } }
      assert.is_nil(ok)
      assert.matches("depend on the worker", why)
      assert.equal(200, alice:call("sip:bob@example.com").code)
      net:finish()
    end)

    for _, which in ipairs { "core", "node" } do
      it("for lack of memory (" .. which .. ") changes nothing", function()
        open { check = "{ interval = 2 }" }
        a:refuse()
        net:run(20)
        local changed = source { check = "{ interval = 2 }",
          servers = { { "a", "10.0.0.3" }, "b", { "d", "10.0.0.9" } },
          before = 'sip.settings { domains = { "example.com" }, trust = { "192.0.2.0/24" } }' }
        local node, failed = net.nodes[1], 0
        local ok
        repeat
          local bytes = node:stats(1).node_bytes
          node:fail_alloc(failed + 1, { which = which, worker = 1 })
          ok = net:reload { source = changed }
          node:fail_alloc(0, { which = which, worker = 1 })
          if not ok then
            failed = failed + 1
            assert.equal(bytes, node:stats(1).node_bytes)
            assert.equal(1, node.generation)
            assert.equal("down", net.pools.pbx.a.health)
            assert.equal(1, net.pools.pbx.a.falls)
            assert.equal("b", alice:call("sip:bob@example.com").server)
          end
        until ok
        assert.is_true(failed >= (which == "node" and 5 or 0))
        net:run(40)
        assert.equal("up", net.pools.pbx.a.health)
        assert.equal("down", net.pools.pbx.d.health)
        net:finish()
      end)
    end
  end)

  it("a hundred times costs no memory", function()
    open { check = "{ interval = 2 }" }
    local two = source { check = "{ interval = 2 }", servers = { "b", "c" },
      before = 'sip.settings { domains = { "example.com", "example.org" } }' }
    local function bytes()
      local core, shared = {}, nil
      for i = 1, workers do
        core[i], shared = net.nodes[1]:stats(i).bytes, net.nodes[1]:stats(i).node_bytes
      end
      return core, shared
    end
    local function round()
      assert(net:reload { source = two })
      net:run(1)
      assert(net:reload { source = source { check = "{ interval = 2 }" } })
      net:run(60)
    end
    round()
    local core, shared = bytes()
    for _ = 1, 49 do
      round()
    end
    local core_after, shared_after = bytes()
    assert.same(core, core_after)
    assert.equal(shared, shared_after)
    net:finish()
  end)

  it("and the end of the process: all that is open is answered", function()
    open()
    a:ring()
    local first = alice:invite "sip:bob@example.com"
    net:run(1)
    assert(net:reload())
    local second = alice:invite "sip:bob@example.com"
    net:run(1)
    net.nodes[1]:stop()
    first:wait()
    second:wait()
    assert.same({ 503, 503 }, { first.code, second.code })
    net:finish()
  end)
end)
