-- Scripts that misbehave, wherever a script runs: each costs what it must, and the
-- next request is served (invariant: a script failure is one request's 500).
local sim = require "support.sim"
local policy = require "support.policy"

local uri = "sip:bob@example.com"

-- `long` is a header of 4 kB. limit: what is spent; else an error it could catch.
local scripts = {
  {
    name = "while true do end",
    text = "while true do end", limit = "instructions",
  }, {
    name = "a loop of pcall(spin)",
    text = "local function spin() while true do end end while true do pcall(spin) end",
    limit = "instructions",
  }, {
    name = "xpcall(spin, spin)",
    text = "local function spin() while true do end end xpcall(spin, spin) pcall(spin)",
    limit = "instructions",
  }, {
    name = "recursion through pcall",
    text = "local function down() pcall(down) return down() end down()",
    limit = "instructions",
  }, {
    name = "an endless sort comparison",
    text = "table.sort({ 3, 2, 1 }, function() while true do end end)",
    limit = "instructions",
  }, {
    name = "a table bomb",
    text = "local t = {} while true do t[#t + 1] = { t } end", limit = "memory",
  }, {
    name = "string.rep of a gigabyte",
    text = "local s = string.rep('x', 1e9) return #s", limit = "instructions",
  }, {
    name = "a pattern that takes for ever",
    text = "local _ = long:match '^(.-);(.-)=(.-)x'", error = "takes too many steps",
  }, {
    name = "a raise",
    text = "error 'oops'", error = "^script.lua:%d+: oops$",
  }, {
    name = "a handler without a verb",
    text = "return", error = "the handler ended without a verb", handler_only = true,
  },
}

local before = [[
  sip.settings { lua = { burst = 0.03, memory = 64e6 } }
  local long = (";="):rep(2048)
]]

-- Calls of "bad" get there, others are relayed.
local function handler(text)
  return ([[
    if req.ruri.user == "bad" then
      local function misbehave() %s end
      misbehave()
      return
    end
    return req:relay(pbx)
  ]]):format(text)
end

-- A function for other places, that misbehaves when it is told to.
local function misbehaving(text)
  return ("local function misbehave() %s end\n"):format(text)
end

local function each(body)
  for _, script in ipairs(scripts) do
    body(script)
  end
end

sim.for_workers("a script that misbehaves", function(workers)
  after_each(sim.finish)

  local w

  local function open(opts)
    opts.workers = workers
    opts.before = before .. (opts.before or "")
    w = policy.world(opts)
  end

  local function counted(script)
    if script.limit then
      return w.net:metric("tandem_lua_kills_total", { reason = script.limit })
    end
    return w.net:metric "tandem_lua_errors_total"
  end

  -- What the log and the counters say of `times` failures.
  local function check_failure(script, where, times)
    local event = policy.failure(w.net)
    assert.equal(where, event.where)
    assert.equal(script.limit, event.limit)
    assert.matches(script.error or ("over its limit of " .. script.limit), event.error)
    assert.equal(times, counted(script))
    assert.equal(times, w.net:count "lua.error")
    w.net:finish { errors = times }
  end

  local function check_served()
    local call = w.alice:call(uri)
    assert.equal(200, call.code)
    assert.equal("a", call.server)
  end

  describe("in a handler costs one request a 500:", function()
    each(function(script)
      it(script.name, function()
        open { handler = handler(script.text) }
        check_served()
        local call = w.alice:call "sip:bad@example.com"
        assert.equal(500, call.code)
        assert.equal(0.002, call.elapsed)
        assert.same({}, call.tried)
        check_served()
        check_failure(script, "route", 1)
      end)
    end)
  end)

  -- Where scripts run otherwise is the same for every worker.
  local describe_once = workers == 1 and describe or function() end

  describe_once("in a handler after an attempt costs that request a 500:", function()
    each(function(script)
      it(script.name, function()
        open { handler = "local res = req:try(a, { timeout = 1 })\n"
          .. "if res then return res:forward() end\n" .. handler(script.text) }
        check_served()
        w.a:silence()
        local call = w.alice:call "sip:bad@example.com"
        assert.equal(500, call.code)
        assert.equal(1.002, call.elapsed)
        w.a:resume()
        check_served()
        check_failure(script, "route", 1)
      end)
    end)
  end)

  describe_once("in a policy function costs one request a 500:", function()
    each(function(script)
      if script.handler_only then
        return
      end
      it(script.name, function()
        open { before = misbehaving(script.text), pool = [[
          policy = function(req, servers)
            if req.ruri.user == "bad" then misbehave() end
            return servers
          end
        ]] }
        check_served()
        assert.equal(500, w.alice:call("sip:bad@example.com").code)
        check_served()
        check_failure(script, "route", 1)
      end)
    end)
  end)

  describe_once("in on_response costs nothing:", function()
    each(function(script)
      if script.handler_only then
        return
      end
      it(script.name, function()
        open { before = misbehaving(script.text), handler = [[
          return req:relay(pbx, { on_response = misbehave })
        ]] }
        w.a:ring(1)
        local call = w.alice:call(uri)
        assert.equal("a", call.server)
        assert.same({ 100, 180 }, call.provisionals)
        assert.equal(200, w.alice:bye(call):wait().code)
        check_failure(script, "on_response", 2) -- 180 and 200
      end)
    end)
  end)

  describe_once("in a timer costs nothing:", function()
    each(function(script)
      if script.handler_only then
        return
      end
      it(script.name, function()
        open { before = misbehaving(script.text), after = [[
          sip.every(1, misbehave)
          sip.every(1, function() say "beside it" end)
        ]] }
        w.net:run(0.5)
        check_served()
        w.net:run(2)
        check_served()
        assert.same({ "beside it", "beside it" }, w.said())
        check_failure(script, "timer", 2)
      end)
    end)
  end)

  describe_once("in sip.on costs nothing:", function()
    each(function(script)
      if script.handler_only then
        return
      end
      it(script.name, function()
        open { before = misbehaving(script.text), after = [[
          sip.on("server.admin", misbehave)
          sip.on("server.admin", function() say "beside it" end)
          sip.after(1, function() b:drain() end)
        ]] }
        check_served()
        w.net:run(2)
        check_served()
        assert.same({ "beside it" }, w.said())
        assert.equal("drain", w.net.pools.pbx.b.status)
        check_failure(script, "spawned task", 1)
      end)
    end)
  end)

  describe_once("in sip.spawn costs nothing:", function()
    each(function(script)
      if script.handler_only then
        return
      end
      it(script.name, function()
        open { before = misbehaving(script.text), handler = [[
          local task = sip.spawn(misbehave)
          say(task:wait())
          return req:relay(pbx)
        ]] }
        check_served()
        assert.same({ "nil failed" }, w.said())
        check_failure(script, "spawned task", 1)
      end)
    end)
  end)

  describe("leaves alone", function()
    it("the calls that are going on, and their branches", function()
      open { handler = handler "while true do end" }
      w.a:ring(5)
      local call = w.alice:invite(uri)
      w.net:run(1)
      assert.equal(500, w.alice:call("sip:bad@example.com").code)
      call:wait()
      assert.equal("a", call.server)
      assert.equal(200, w.alice:bye(call):wait().code)
      w.net:finish { errors = 1 }
    end)

    it("the requests of the same moment", function()
      open { handler = handler "while true do end" }
      local calls = {}
      for i = 1, 6 do
        calls[i] = w.alice:invite(i % 2 == 0 and "sip:bad@example.com" or uri)
      end
      w.net:run(1)
      for i, call in ipairs(calls) do
        assert.equal(i % 2 == 0 and 500 or 200, call.code)
      end
      w.net:finish { errors = 3 }
    end)

    it("the memory: ten table bombs later there is as much as before", function()
      open { handler = handler "local t = {} while true do t[#t + 1] = { t } end" }
      for _ = 1, 10 do
        assert.equal(500, w.alice:call("sip:bad@example.com").code)
      end
      check_served()
      w.net:finish { errors = 10 }
    end)
  end)

  it("cannot catch its end: pcall does not return, nor does xpcall's handler run", function()
    open { handler = [[
      if req.ruri.user ~= "bad" then return req:relay(pbx) end
      pcall(function() while true do end end)
      say "survived"
      req:reply(200)
    ]] }
    assert.equal(500, w.alice:call("sip:bad@example.com").code)
    assert.same({}, w.said())
    w.net:finish { errors = 1 }
  end)

  it("can catch an ordinary error, a pattern that was too much included", function()
    open { handler = [[
      local ok, why = pcall(string.match, long, "^(.-);(.-)=(.-)x")
      say(ok, (why:gsub(" %(.*", "")))
      return req:relay(pbx)
    ]] }
    check_served()
    assert.matches("^false .*takes too many steps", w.said()[1])
  end)

  describe("has the limits of sip.settings:", function()
    it("what takes 4 ms of work passes with burst = 0.05 and not with 0.001", function()
      local work = "for _ = 1, 100000 do local _ = 1 end return req:relay(pbx)"
      w = policy.world { workers = workers, handler = work,
        before = "sip.settings { lua = { burst = 0.05 } }" }
      check_served()
      w = policy.world { workers = workers, handler = work,
        before = "sip.settings { lua = { burst = 0.001 } }" }
      assert.equal(500, w.alice:call(uri).code)
      assert.equal("instructions", policy.failure(w.net).limit)
      w.net:finish { errors = 1 }
    end)

    it("50 ms by default: five million instructions", function()
      w = policy.world { workers = workers,
        handler = "for _ = 1, 1000000 do local _ = 1 end return req:relay(pbx)" }
      check_served()
      w = policy.world { workers = workers,
        handler = "for _ = 1, 6000000 do local _ = 1 end return req:relay(pbx)" }
      assert.equal(500, w.alice:call(uri).code)
      w.net:finish { errors = 1 }
    end)

    it("for each entry, not for a request: sleeping gives a new budget", function()
      w = policy.world { workers = workers,
        before = "sip.settings { lua = { burst = 0.002 } }", handler = [[
          for _ = 1, 20 do
            for _ = 1, 50000 do local _ = 1 end
            sip.sleep(0.01)
          end
          return req:relay(pbx)
        ]] }
      check_served()
    end)
  end)
end)

-- Their number is the operator's, and no handler's fault.
describe("a script with thousands of servers", function()
  after_each(sim.finish)

  it("starts, and is reloaded", function()
    local net = policy.world { source = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local servers = { { name = "a", uri = "sip:10.0.0.1" } }
for i = 1, 5000 do
  servers[#servers + 1] = {
    name = "s" .. i, uri = ("sip:10.1.%d.%d"):format(i // 250, i % 250), tier = 2,
  }
end
local pbx = sip.pool("pbx", { servers = servers, check = false })
sip.route(function(req) return req:relay(pbx) end)
]] }.net
    assert.is_true(net:reload())
    local alice = net:uac "192.0.2.9"
    local call = alice:call(uri)
    assert.equal(200, call.code)
    alice:bye(call)
    net:run(1)
  end)
end)
