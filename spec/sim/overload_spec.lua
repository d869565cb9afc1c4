-- Too much: docs/explanation/overload.md. What work costs is made up, in the proportions
-- that were measured: to refuse a call costs a thirteenth of a call.
local flood = require "support.flood"
local policy = require "support.policy"
local sim = require "support.sim"

local uri = "sip:bob@example.com"
local enough = 60 -- calls per second that are more than can be done, whatever the workers
local cost = { receive = 0.0005, send = 0.0005, request = 0.015 }

local function open(opts, transport, callers)
  opts.servers = opts.servers or 1
  opts.workers = opts.workers or 1 -- whatever WORKERS says: with more it is no crowd
  local w = policy.world(opts)
  w.net:run(1)
  -- As many calls for any number of workers: a spec has to end.
  local each = {}
  for name, seconds in pairs(cost) do
    each[name] = seconds * opts.workers
  end
  w.net.nodes[1]:slow(each)
  return w, w.net, flood.new(w.net, { transport = transport, callers = callers })
end

for _, workers in ipairs { 1, 2, 4 } do
  describe(("overload, %d worker%s"):format(workers, workers > 1 and "s" or ""), function()
    after_each(sim.finish)

    it("at three times saturation leaves 80 % of it, answered in time", function()
      local _, _, load = open { workers = workers }
      load:offer(enough, 3)
      local saturation = load:offer(enough, 6)
      assert.is_true(saturation.refused > 0)
      load:offer(3 * saturation.ok, 3)
      local crowd = load:offer(3 * saturation.ok, 6)
      assert.is_true(crowd.ok >= 0.8 * saturation.ok,
        ("%.1f of %.1f calls a second"):format(crowd.ok, saturation.ok))
      assert.is_true(crowd.longest < 1, "a call waited " .. crowd.longest)
      assert.equal(0, crowd.other)
    end)

    -- What one peer sends comes to one worker, which is behind long before the others: on
    -- its account they must not refuse what they have time for.
    it("of one large peer leaves nearly what it leaves of many", function()
      local ok = {}
      for _, callers in ipairs { 1, 20 } do
        local _, _, load = open({ workers = workers }, nil, callers)
        load:offer(100, 3)
        local crowd = load:offer(100, 6)
        assert.is_true(crowd.longest < 1, "a call waited " .. crowd.longest)
        ok[callers] = crowd.ok
        sim.finish()
      end
      assert.is_true(ok[1] >= 2 / 3 * ok[20],
        ("%.1f of %.1f calls a second"):format(ok[1], ok[20]))
    end)

    it("helps nobody without (overload = false)", function()
      local _, _, load = open {
        workers = workers, before = "sip.settings { overload = false }",
      }
      load:offer(100, 4)
      local crowd = load:offer(100, 2)
      assert.equal(0, crowd.refused)
      assert.is_true(crowd.ok < 30, crowd.ok .. " calls a second")
      assert.is_true(crowd.longest > 2) -- where callers hang up
    end)

    it("lets every call that was accepted end", function()
      local _, net, load = open { workers = workers }
      load:offer(150, 5)
      net:run(5)
      local up = 0
      for _, call in ipairs(load.calls) do
        up = up + (call.code == 200 and 1 or 0)
        assert.is_truthy(call.code == 200 or call.code == 503, call.code)
      end
      assert.equal(up, #load.byes)
      for _, bye in ipairs(load.byes) do
        assert.equal(200, bye.code)
      end
    end)

    it("is over at once when the crowd has gone", function()
      local _, _, load = open { workers = workers }
      load:offer(150, 5)
      load:offer(15, 1) -- a half of what can be done, at most
      local after = load:offer(15, 5)
      assert.equal(0, after.refused)
      assert.is_true(after.ok > 14, after.ok .. " of 15")
    end)
  end)
end

describe("in an overload", function()
  after_each(sim.finish)

  local w, net, load

  local function begin(opts, transport)
    w, net, load = open(opts or {}, transport)
  end

  local function shed(reason)
    return net:metric("tandem_overload_shed_total", { reason = reason })
  end

  local function logged(event)
    local list = {}
    for _, item in ipairs(net.events) do
      list[#list + 1] = item.event == event and item or nil
    end
    return list
  end

  -- A crowd for some seconds, and what `fn` does one second later and then every tenth.
  local function in_crowd(seconds, fn)
    for i = 10, seconds * 10 do
      net:after(i / 10, function()
        fn(i)
      end)
    end
    load:offer(150, seconds)
    net:run(5)
  end

  it("one line tells of its beginning, one of its end", function()
    begin()
    load:offer(150, 4)
    assert.equal(1, net:metric "tandem_overloaded")
    assert.equal(1, net:metric "tandem_overload_episodes_total")
    assert.equal(1, #logged "overload.begin")
    assert.equal(0, #logged "overload.end")
    net:run(10)
    local over = logged "overload.end"
    assert.equal(1, #over)
    assert.equal("delay", logged("overload.begin")[1].reason)
    assert.equal(shed(), over[1].refused)
    assert.equal(0, over[1].unanswered)
    assert.is_true(over[1].longest > 0.05 and over[1].longest < 0.5)
    assert.is_true(over[1].seconds > 3 and over[1].seconds < 5)
    assert.equal(0, net:metric "tandem_overloaded")
  end)

  it("what begins something else is taken while INVITEs are refused", function()
    begin()
    local made = {}
    in_crowd(3, function()
      made[#made + 1] = w.alice:request("MESSAGE", uri)
    end)
    local taken = 0
    for _, call in ipairs(made) do
      taken = taken + (call.code == 200 and 1 or 0)
    end
    assert.is_true(taken >= 0.9 * #made, taken .. " taken")
    assert.is_true(shed "invite" > 200)
  end)

  it("that is refused too when that is the crowd", function()
    begin()
    local codes, n = {}, 0
    local function ask()
      n = n + 1
      local caller = load.callers[n % 20 + 1]
      local made = caller:request("MESSAGE", uri)
      net:after(3, function()
        codes[made.code or "none"] = (codes[made.code or "none"] or 0) + 1
      end)
      if n < 600 then
        net:after(1 / 200, ask)
      end
    end
    ask()
    net:run(8)
    assert.is_true(codes[200] > 100)
    assert.is_true(codes[503] > 100)
    assert.is_true(shed "other" > 100)
  end)

  it("whoever asks whether we are there is told", function()
    begin()
    local made = {}
    in_crowd(3, function()
      made[#made + 1] = w.alice:request("OPTIONS", "sip:10.0.0.100")
    end)
    for _, call in ipairs(made) do
      assert.equal(200, call.code)
    end
  end)

  it("exempt numbers get through", function()
    begin { before = 'sip.settings { overload = { exempt = { "112", "+49110" } } }' }
    local made, others = {}, 0
    in_crowd(3, function(i)
      made[#made + 1] = w.alice:invite(i % 2 == 0 and "sip:112@example.com"
        or "sip:+49110;phone-context=x@example.com")
    end)
    for _, call in ipairs(load.calls) do
      others = others + (call.code == 503 and 1 or 0)
    end
    for _, call in ipairs(made) do
      assert.equal(200, call.code)
      w.alice:bye(call)
    end
    assert.is_true(others > 200)
    net:run(2)
  end)

  it("requests inside of a dialog are not refused, nor is a CANCEL", function()
    begin()
    w.a:on("INVITE", function(request, reply)
      if request.uri:find "ring" then
        reply(180)
      else
        reply(200)
      end
    end)
    local call = w.alice:call(uri)
    local ringing = w.alice:invite "sip:ring@example.com"
    net:run(1)
    local made = {}
    in_crowd(3, function(i)
      made[#made + 1] = i < 30 and w.alice:in_dialog(call, "INFO") or nil
      if i == 20 then
        w.alice:cancel(ringing)
      end
    end)
    assert.equal(20, #made)
    for _, info in ipairs(made) do
      assert.equal(200, info.code)
    end
    assert.equal(487, ringing.code)
    w.alice:bye(call)
    net:run(2)
  end)

  it("calls over TCP are refused, too", function()
    begin({ source = policy.script({ servers = 1 }):gsub(
      '"udp:0.0.0.0:5060"', '"udp:0.0.0.0:5060", "tcp:0.0.0.0:5060"') }, "tcp")
    load:offer(150, 3)
    local crowd = load:offer(150, 5)
    assert.is_true(crowd.ok > 30, crowd.ok .. " calls a second")
    assert.is_true(crowd.refused > 80)
    net:run(40) -- of what came on a connection nothing stays without an answer
    for _, call in ipairs(load.calls) do
      assert.is_truthy(call.code == 200 or call.code == 503, call.code)
    end
  end)

  it("the delay that is meant can be said, and changed by a reload", function()
    begin { before = "sip.settings { overload = { delay = 0.2 } }" }
    load:offer(150, 3)
    local crowd = load:offer(150, 3)
    assert.is_true(crowd.longest > 0.4)
    net:reload { source = policy.script {
      servers = 1, before = "sip.settings { overload = { delay = 0.02 } }",
    } }
    load:offer(150, 3)
    crowd = load:offer(150, 3)
    assert.is_true(crowd.longest < 0.4, crowd.longest)
    assert.is_true(crowd.ok > 35)
  end)
end)

describe("no overload is", function()
  after_each(sim.finish)

  -- Calls at the same moment, by callers of their own.
  local function burst(net, callers, n)
    local calls = {}
    for i = 1, n do
      calls[i] = callers[i % #callers + 1]:invite(uri)
    end
    net:run(3)
    for i, call in ipairs(calls) do
      assert.equal(200, call.code)
      callers[i % #callers + 1]:bye(call)
    end
    net:run(3)
  end

  it("a burst that is worked off within an interval", function()
    local _, net, load = open {}
    for _ = 1, 5 do
      burst(net, load.callers, 9)
    end
    assert.is_true(net:metric("tandem_input_delay_seconds_bucket", { le = "0.05" })
      < net:metric "tandem_input_delay_seconds_count")
    assert.equal(0, net:metric "tandem_overload_shed_total")
  end)

  it("a process that was stopped for a second", function()
    local _, net, load = open {}
    net.nodes[1]:slow()
    local calls = {}
    net.nodes[1]:pause()
    for i = 1, 50 do
      calls[i] = load.callers[i % 20 + 1]:invite(uri)
    end
    net:run(1)
    net.nodes[1]:resume()
    net:run(5)
    for i, call in ipairs(calls) do
      assert.equal(200, call.code)
      load.callers[i % 20 + 1]:bye(call)
    end
    assert.equal(0, net:metric "tandem_overload_shed_total")
    net:run(2)
  end)
end)
