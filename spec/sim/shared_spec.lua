-- sip.shared: what the workers of a node know together.
local sim = require "support.sim"
local policy = require "support.policy"

local uri = "sip:bob@example.com"

local counting = [[
  local n = sip.shared("calls"):incr "total"
  local mine = sip.shared("calls"):incr(("%s"):format(req.call_id))
  say(n, mine)
  return req:relay(pbx)
]]

sim.for_workers("sip.shared", function(workers)
  after_each(sim.finish)

  local w

  local function open(handler, more)
    more = more or {}
    more.workers, more.handler = workers, handler
    w = policy.world(more)
  end

  local function calls(n)
    for i = 1, n do
      w.alice:call(uri, { call_id = "call" .. i })
    end
    w.net:run(0.1)
  end

  it("counts for all workers", function()
    open(counting)
    calls(20)
    local said = w.said()
    assert.equal(20, #said)
    assert.equal("20 1", said[20])
    if workers > 1 then
      local seen = {}
      for _, event in ipairs(w.net.events) do
        if event.event == "script" then
          seen[event.worker] = true
        end
      end
      assert.is_true(seen[0] and seen[1])
    end
  end)

  it("keeps strings, numbers and booleans, as they were", function()
    open [[
      local t = sip.shared "values"
      for i, value in ipairs { "text", 42, 1.5, true, false, "", "a\0b" } do
        t:set("k" .. i, value)
        local back = t:get("k" .. i)
        say(back == value, math.type(back) or type(back))
      end
      t:set("k1", nil)
      say(t:get "k1", t:get "never")
      say((pcall(t.set, t, "k", {})))
      return req:relay(pbx)
    ]]
    calls(1)
    assert.same({ "true string", "true integer", "true float", "true boolean", "true boolean",
      "true string", "true string", "nil nil", "false" }, w.said())
  end)

  it("forgets after a time to live", function()
    open [[
      local t = sip.shared "values"
      if not t:get "once" then t:set("once", "x", 5) end
      say(t:get "once", t:incr("count", 1, 10, 5))
      return req:relay(pbx)
    ]]
    calls(1)
    w.net:run(3)
    w.alice:call(uri)
    w.net:run(3)
    w.alice:call(uri)
    assert.same({ "x 11", "x 12", "x 11" }, w.said())
  end)

  it("has tables that know nothing of each other", function()
    open [[
      sip.shared("one"):set("k", 1)
      say(sip.shared("two"):get "k", sip.shared("one"):get "k")
      return req:relay(pbx)
    ]]
    calls(1)
    assert.same({ "nil 1" }, w.said())
  end)

  it("outlives a reload, and not a restart", function()
    open(counting)
    calls(3)
    assert(w.net:reload())
    calls(1)
    assert.equal("4 2", w.said()[4])
    w.net.nodes[1]:stop()
    w.net.nodes[1]:start()
    calls(1)
    assert.equal("1 1", w.said()[5])
  end)

  it("can limit calls over all workers", function()
    open [[
      local t = sip.shared "limit"
      if t:incr("now", 1, 0, 10) > 5 then
        return req:reply(503, "Full", { headers = { ["Retry-After"] = "10" } })
      end
      return req:relay(pbx)
    ]]
    local codes = {}
    for i = 1, 8 do
      codes[i] = w.alice:call(uri, { call_id = "call" .. i }).code
    end
    assert.same({ 200, 200, 200, 200, 200, 503, 503, 503 }, codes)
    w.net:run(11)
    assert.equal(200, w.alice:call(uri).code)
  end)

  it("has names that are the proxy's own", function()
    assert.equal("script.lua:2: sip.shared: names that begin with 'tandem.' are the proxy's own",
      policy.load_error 'local sip = require "tandem"\nsip.shared "tandem.node"')
  end)
end)

sim.for_workers("sip.counter", function(workers)
  after_each(sim.finish)

  it("is a metric, summed over the workers, and goes on after a reload", function()
    local w = policy.world { workers = workers, before = [[
      local seen = sip.counter("calls_seen_total", "Calls.", { kind = "test" })
    ]], handler = [[
      seen:add()
      if req.ruri.user == "two" then seen:add(2) end
      return req:relay(pbx)
    ]] }
    for i = 1, 6 do
      w.alice:call(uri, { call_id = "call" .. i })
    end
    w.alice:call "sip:two@example.com"
    assert.equal(9, w.net:metric("calls_seen_total", { kind = "test" }))
    assert(w.net:reload())
    w.alice:call(uri)
    assert.equal(10, w.net:metric "calls_seen_total")
  end)
end)
