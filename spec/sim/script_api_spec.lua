-- The API as a script meets it: timers and tasks, headers, log, declarations, and
-- what is said when it is used wrongly.
local sim = require "support.sim"
local policy = require "support.policy"

local uri = "sip:bob@example.com"

sim.for_workers("in a script", function(workers)
  after_each(sim.finish)

  local w

  local function open(more)
    more.workers = workers
    w = policy.world(more)
  end

  local function times(event)
    local list = {}
    for _, e in ipairs(w.net.events) do
      if e.event == "script" and e.message == event then
        list[#list + 1] = e.time
      end
    end
    return list
  end

  describe("sip.every", function()
    it("repeats, first after one period, in worker 0 only", function()
      open { after = "sip.every(10, function() say 'tick' end)" }
      w.net:run(35)
      assert.same({ 10, 20, 30 }, times "tick")
    end)

    it("runs in every worker with per_worker", function()
      open { after = "sip.every(10, function() say 'tick' end, { per_worker = true })" }
      w.net:run(25)
      assert.equal(2 * workers, #times "tick")
    end)

    it("does not drift when its function waits", function()
      open { after = "sip.every(10, function() sip.sleep(3) say 'tick' end)" }
      w.net:run(35)
      assert.same({ 13, 23, 33 }, times "tick")
    end)

    it("does not run twice at once", function()
      open { after = "sip.every(10, function() say 'tick' sip.sleep(25) end)" }
      w.net:run(65)
      assert.same({ 10, 40 }, times "tick")
    end)

    it("of a handler runs in the worker of that handler", function()
      open { handler = [[
        local timer
        timer = sip.every(1, function() say "tick" timer:cancel() end)
        return req:relay(pbx)
      ]] }
      for i = 1, 8 do
        w.alice:call(uri, { call_id = "call" .. i })
      end
      w.net:run(3)
      assert.equal(8, #times "tick")
    end)

    it("varies its period by jitter", function()
      open { after = "sip.every(10, function() say 'tick' end, { jitter = 0.2 })" }
      w.net:run(200)
      local last, varied = 0, false
      for _, time in ipairs(times "tick") do
        local gap = time - last
        assert.is_true(gap >= 8 - 1e-6 and gap <= 12 + 1e-6, gap)
        varied, last = varied or math.abs(gap - 10) > 0.1, time
      end
      assert.is_true(varied)
    end)

    it("can be cancelled, also by itself", function()
      open { after = [[
        local timer, n = nil, 0
        timer = sip.every(10, function()
          n = n + 1
          say "tick"
          if n == 2 then timer:cancel() end
        end)
        local other = sip.every(1, function() say "never" end)
        other:cancel()
      ]] }
      w.net:run(60)
      assert.same({ 10, 20 }, times "tick")
      assert.same({}, times "never")
    end)
  end)

  describe("sip.after", function()
    it("runs once", function()
      open { after = "sip.after(7, function() say 'once' end)" }
      w.net:run(60)
      assert.same({ 7 }, times "once")
    end)

    it("can be asked for by a handler, and cancelled", function()
      open { handler = [[
        sip.after(2, function() say "late" end)
        local timer = sip.after(2, function() say "never" end)
        timer:cancel()
        return req:relay(pbx)
      ]] }
      w.alice:call(uri)
      w.net:run(5)
      assert.equal(1, #times "late")
      assert.near(2.001, times("late")[1], 1e-6)
      assert.same({}, times "never")
    end)
  end)

  describe("sip.sleep and sip.now", function()
    it("tell and take virtual time, and hold nobody else up", function()
      open { handler = [[
        local before = sip.now()
        if req.ruri.user == "slow" then sip.sleep(3) end
        say(req.ruri.user, ("%.3f"):format(sip.now() - before))
        return req:relay(pbx)
      ]] }
      local slow = w.alice:invite "sip:slow@example.com"
      local fast = w.alice:invite "sip:fast@example.com"
      w.net:run(5)
      assert.equal(3.004, slow.elapsed)
      assert.equal(0.004, fast.elapsed)
      assert.same({ "fast 0.000", "slow 3.000" }, w.said())
    end)

    it("wake up at the same time in the order they went to sleep", function()
      open { after = [[
        sip.on("start", function()
          for i = 1, 5 do sip.spawn(function() sip.sleep(1) say(i) end) end
        end)
      ]] }
      w.net:run(2)
      assert.same({ "1", "2", "3", "4", "5" }, w.said())
    end)
  end)

  describe("sip.spawn", function()
    it("gives what the function returned to task:wait", function()
      open { handler = [[
        local task = sip.spawn(function() sip.sleep(1) return "x", nil, 3 end)
        local other = sip.spawn(function() return end)
        say(task:wait())
        say(task:wait())
        say(select("#", other:wait()))
        return req:relay(pbx)
      ]] }
      assert.equal(1.004, w.alice:call(uri).elapsed)
      assert.same({ "x nil 3", "x nil 3", "0" }, w.said())
    end)

    it("gives a task that can be cancelled where it waits", function()
      open { handler = [[
        local function closing(word)
          return setmetatable({}, { __close = function() say(word) end })
        end
        local task
        task = sip.spawn(function()
          local _ <close> = closing "closed"
          say(pcall(task.cancel, task))
          sip.sleep(10)
          say "never"
        end)
        local waiting = sip.spawn(function() return task:wait() end)
        local asking = sip.spawn(function()
          return sip.request { method = "OPTIONS", uri = "sip:10.0.0.2" }
        end)
        sip.sleep(0.0005)
        task:cancel()
        asking:cancel()
        task:cancel() -- nothing any more
        say(waiting:wait())
        say(task:wait())
        return req:reply(480)
      ]] }
      assert.equal(480, w.alice:call(uri).code)
      w.net:run(40)
      local said = w.said()
      assert.matches("^false .*a task cannot cancel itself; return$", said[1])
      assert.same({ "closed", "nil failed", "nil failed" }, { table.unpack(said, 2) })
    end)

    it("does several things at once", function()
      open { handler = [[
        local tasks = {}
        for i = 1, 3 do tasks[i] = sip.spawn(function() sip.sleep(i) return i end) end
        local sum = 0
        for _, task in ipairs(tasks) do sum = sum + task:wait() end
        return req:reply(480, "Sum " .. sum)
      ]] }
      local call = w.alice:call(uri)
      assert.equal("Sum 6", call.reason)
      assert.equal(3.002, call.elapsed)
    end)
  end)

  describe("sip.on", function()
    local healthy = [[
      local sip = require "tandem"
      sip.listen { "udp:0.0.0.0:5060" }
      local pbx = sip.pool("pbx", {
        servers = { { name = "a", uri = "sip:10.0.0.1", tier = 1 },
                    { name = "b", uri = "sip:10.0.0.2", tier = 2 } },
        check = { interval = 2, timeout = 1, fall = 2, rise = 2, jitter = 0 },
        failback = { hold = 5 },
      })
      for _, name in ipairs { "server.health", "server.admin", "server.hold", "pool.state",
        "pool.tier", "branch.failed", "config.reload", "start", "stop" } do
        sip.on(name, function(e)
          sip.log.info(table.concat({ e.event, e.pool and e.pool.name or "-",
            e.server and e.server.name or "-", tostring(e.from), tostring(e.to),
            e.reason or "-" }, " "))
        end)
      end
      sip.route(function(req)
        if req.ruri.user == "drain" then pbx:server("b"):drain("test") end
        return req:relay(pbx, { timeout = 1, last_timeout = 1 })
      end)
    ]]

    it("start, server.health, pool.state and pool.tier: a fall and a return", function()
      open { source = healthy }
      w.net:run(3)
      w.a:silence()
      w.net:run(10)
      w.a:resume()
      w.net:run(15)
      assert.same({
        "start - - nil nil -",
        "server.health pbx a nil unknown start",
        "server.health pbx b nil unknown start",
        "pool.state pbx - nil up start",
        "pool.tier pbx - nil 1 start",
        "server.health pbx a unknown up 200",
        "server.health pbx b unknown up 200",
        "server.health pbx a up falling timeout",
        "server.health pbx a falling down timeout",
        "pool.state pbx - up backup timeout",
        "pool.tier pbx - 1 2 timeout",
        "server.health pbx a down rising 200",
        "server.health pbx a rising up 200",
        "server.hold pbx a nil nil failback",
        "pool.state pbx - backup up hold ended",
        "pool.tier pbx - 2 1 hold ended",
      }, w.said())
    end)

    it("branch.failed, with what and why, from whichever worker", function()
      open { source = healthy:gsub("e.reason or", "e.cause or e.reason or") }
      w.net:run(1)
      w.a:silence()
      for i = 1, 4 do
        w.alice:call(uri, { call_id = "call" .. i })
      end
      local failed = {}
      for _, line in ipairs(w.said()) do
        failed[#failed + 1] = line:match "^branch.failed.*"
      end
      assert.equal("branch.failed pbx a nil nil silent", failed[1])
      assert.is_true(#failed >= 2)
    end)

    it("server.admin, also when another worker ordered it", function()
      open { source = healthy }
      w.net:run(3)
      for i = 1, 4 do
        w.alice:call("sip:drain@example.com", { call_id = "call" .. i })
      end
      w.net:run(0.1)
      local last = w.said()
      assert.equal("server.admin pbx b ready drain test", last[#last])
      assert.equal(1, w.net:count("server.admin", { server = "b", to = "drain" }))
    end)

    it("config.reload in the script that came, stop in the one that went", function()
      open { source = healthy }
      w.net:run(1)
      assert(w.net:reload())
      w.net:run(0.1)
      local said = table.concat(w.said(), "\n")
      assert.matches("stop %- .*config.reload %- .*start %- ", said)
      assert.equal(1, select(2, said:gsub("config.reload", "")))
    end)

    it("in worker 0 only, unless per_worker", function()
      open { after = [[
        sip.on("start", function() say "one" end)
        sip.on("start", function() say "each" end, { per_worker = true })
      ]] }
      w.net:run(0.1)
      assert.equal(1, #times "one")
      assert.equal(workers, #times "each")
    end)

    it("does not know the name: an error with a suggestion", function()
      assert.equal("script.lua:2: sip.on: there is no event 'server.helth'; did you mean "
        .. "'server.health'?", policy.load_error [[local sip = require "tandem"
          sip.on("server.helth", function() end)]])
    end)
  end)

  describe("sip.log", function()
    it("is an event of its own, with fields in the order of their names", function()
      open { handler = [[
        sip.log.warn("who called", { b = 1, a = "x y", c = true, d = 1.5 })
        return req:relay(pbx)
      ]] }
      w.alice:call(uri)
      local line
      for _, one in ipairs(w.net.logs) do
        line = line or one:match "level=warn event=script.*"
      end
      assert.equal('level=warn event=script message="who called" a="x y" b=1 c=true d=1.5', line)
    end)

    it("cannot forge lines or fields", function()
      open { handler = [[
        sip.log.info("one\nlevel=error event=fake", { ["a b"] = "\r\n\0\27[31m \"x\"" })
        return req:relay(pbx)
      ]] }
      w.alice:call(uri)
      local found
      for _, one in ipairs(w.net.logs) do
        assert.is_nil(one:find "[%c]")
        found = found or one:match "event=script (.*)"
      end
      assert.matches('message="one\\nlevel=error event=fake"', found, 1, true)
    end)

    it("has four levels", function()
      open { before = "sip.settings { log_level = 'debug' }", handler = [[
        for _, level in ipairs { "debug", "info", "warn", "error" } do sip.log[level](level) end
        return req:relay(pbx)
      ]] }
      w.alice:call(uri)
      for _, level in ipairs { "debug", "info", "warn", "error" } do
        assert.equal(1, w.net:count("script", { level = level, message = level }), level)
      end
    end)

    it("wants a text: an error with the line", function()
      open { handler = "sip.log.info(42)" }
      w.alice:call(uri)
      assert.equal("script.lua:13: sip.log.info: a string expected, got number",
        policy.failure(w.net).error)
      w.net:finish { errors = 1 }
    end)
  end)

  describe("headers of a request", function()
    it("are read by any name, the first or all", function()
      open { handler = [[
        say(req:header "X-One", req:header "x-one", req:header "Subject", req:header "s")
        say(#req:headers "X-One", req:headers("X-One")[2], req:header "None")
        say(req.method, req.call_id == req:header "i", req.from.user, req.to.host, req.to.tag)
        return req:relay(pbx)
      ]] }
      w.alice:call(uri, { headers = { ["X-One"] = { "1", "2" }, s = "lunch" } })
      assert.same({ "1 1 lunch lunch", "2 2 nil", "INVITE true alice example.com nil" },
        w.said())
    end)

    it("are read as they are after edits", function()
      open { handler = [[
        req:set_header("X-One", "new")
        say(#req:headers "X-One", req:header "X-One")
        req:add_header("X-One", "more")
        say(#req:headers "X-One")
        req:del_header "X-One"
        say(#req:headers "X-One", req:header "X-One")
        return req:relay(pbx)
      ]] }
      w.alice:call(uri, { headers = { ["X-One"] = { "1", "2" } } })
      assert.same({ "1 new", "2", "0 nil" }, w.said())
      assert.is_nil(w.a:got("INVITE")[1]:header "X-One")
    end)

    for name, bytes in pairs { CR = "\\r", LF = "\\n", NUL = "\\0" } do
      it("refuse " .. name .. " in values, names and reasons", function()
        open { handler = ([[
          local function refused(fn, ...) say((pcall(fn, req, ...))) end
          refused(req.set_header, "X-One", "a%sb")
          refused(req.add_header, "X-One", "a%sX-Two: b")
          refused(req.set_header, "X-%sOne", "a")
          refused(req.reply, 480, "a%sb")
          refused(req.reply, 480, nil, { headers = { ["X-One"] = "a%sb" } })
          refused(function() req.ruri = "sip:a%sb@c" end)
          refused(function() req.ruri.user = "a%sb" end)
          return req:relay(pbx)
        ]]):gsub("%%s", (bytes:gsub("\\", "%%\\"):gsub("%%", ""))) }
        w.alice:call(uri)
        local said = w.said()
        for i = 1, 6 do
          assert.equal("false", said[i], i)
        end
        -- a user is escaped instead
        assert.equal("true", said[7])
        assert.matches("^sip:a%%0[0AD]b@example.com$", w.a:got("INVITE")[1].uri)
        assert.is_nil(w.a:got("INVITE")[1]:header "X-One")
        assert.is_nil(w.a:got("INVITE")[1]:header "X-Two")
      end)
    end

    it("say so with the line when they refuse", function()
      open { handler = 'req:set_header("X-One", "a\\r\\nVia: x")' }
      assert.equal(500, w.alice:call(uri).code)
      assert.equal("script.lua:13: header X-One: a value cannot contain CR, LF or NUL",
        policy.failure(w.net).error)
      w.net:finish { errors = 1 }
    end)
  end)

  it("req.vars belongs to the script, and to this request", function()
    open { handler = [[
      say(req.vars.seen, next(req.vars))
      req.vars.seen = "yes"
      sip.spawn(function() req.vars.task = "too" end):wait()
      say(req.vars.seen, req.vars.task)
      return req:relay(pbx)
    ]] }
    w.alice:call(uri)
    w.alice:call(uri)
    assert.same({ "nil nil", "yes too", "nil nil", "yes too" }, w.said())
  end)

  it("nothing else of a request can be set", function()
    open { handler = "req.mine = 1" }
    w.alice:call(uri)
    assert.equal("script.lua:13: field 'mine' of a request cannot be set: use req.vars for what "
      .. "is yours", policy.failure(w.net).error)
    w.net:finish { errors = 1 }
  end)

  describe("waiting is refused, with place and alternative,", function()
    local function fails(opts, message)
      open(opts)
      assert.equal(500, w.alice:call(uri).code)
      assert.equal(message, policy.failure(w.net).error)
      w.net:finish { errors = 1 }
    end

    it("in a policy function", function()
      fails({ pool = "policy = function(req, servers) sip.sleep(1) return servers end" },
        "script.lua:4: sleep cannot wait in a policy function: it decides by what is known; "
        .. "wait in the handler")
    end)

    it("in a policy function that tries", function()
      fails({ pool = "policy = function(req, servers) req:try(servers[1]) end" },
        "script.lua:4: req:try cannot wait in a policy function: it decides by what is known; "
        .. "wait in the handler")
    end)

    it("in a comparison of table.sort", function()
      fails({ handler = "table.sort({ 2, 1 }, function(x, y) sip.sleep(1) return x < y end)" },
        "script.lua:13: sleep cannot wait in a function that a library calls (table.sort, "
        .. "string.gsub, __tostring, __close of a failed task): call it outside")
    end)

    it("in what judges a check", function()
      w = policy.world { workers = workers, source = [[
        local sip = require "tandem"
        sip.listen { "udp:0.0.0.0:5060" }
        sip.pool("pbx", { servers = { { name = "a", uri = "sip:10.0.0.1" } },
          check = { expect = function() sip.sleep(1) return true end, interval = 60 } })
      ]] }
      w.net:run(10)
      assert.equal("script.lua:4: sleep cannot wait in a function that judges a check: it sees "
        .. "an answer; wait in sip.every or sip.on", policy.failure(w.net).error)
      w.net:finish { errors = 1 }
    end)
  end)

  it("a request of our own can be sent, from a timer", function()
    open { after = [[
      sip.after(1, function()
        local res, err = sip.request { method = "MESSAGE", uri = "sip:10.0.0.2",
          headers = { Subject = "hello", ["Content-Type"] = "text/plain" }, body = "text",
          from = "sip:tandem@example.com", timeout = 2 }
        say(res and res.code, err)
      end)
    ]] }
    w.net:run(5)
    assert.same({ "200 nil" }, w.said())
    local sent = w.b:got("MESSAGE")[1]
    assert.equal("text", sent.body)
    assert.equal("hello", sent:header "Subject")
    assert.matches("^<sip:tandem@example.com>;tag=", sent:header "From")
  end)

  it("a call of our own without a Contact has no dialog, and says so", function()
    open { after = [[
      sip.after(1, function()
        local res = sip.request { method = "INVITE", uri = "sip:10.0.0.2", timeout = 2 }
        say(res.code, pcall(res.request, res, "BYE"))
      end)
    ]] }
    w.b:answer("INVITE", 200, { Contact = "" })
    w.net:run(5)
    assert.matches("^200 false .*there is no dialog: the answer has no Contact", w.said()[1])
    assert.equal(0, w.net:metric("tandem_dropped_total", { reason = "no_memory" }))
    w.b:answer("INVITE", 486)
    w.net:run(60)
  end)
end)
