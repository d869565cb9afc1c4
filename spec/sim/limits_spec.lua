-- max_calls, max_cps and resources, on the wire.
local sim = require "support.sim"

local uri = "sip:bob@example.com"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local gw = sip.pool("gw", { servers = {
  { name = "a", uri = "sip:10.0.0.1", %s },
  { name = "b", uri = "sip:10.0.0.2", %s } }, check = false, %s })
sip.route("SUBSCRIBE", function(req)
  gw:server("b"):mark_down()
  req:reply(200)
end)
sip.route(function(req)
  local ok, why = req:relay(gw, { timeout = 1, last_timeout = 1, %s })
  if why == "full" then
    return req:reply(503, "Full", { headers = { ["Retry-After"] = "5" } })
  elseif not ok then
    return req:reply(480, why)
  end
end)
]]

sim.for_workers("limits", function(workers)
  after_each(sim.finish)

  local net, a, b, alice, open_calls

  -- `relay`: further options of the verb.
  local function open(of_a, of_b, pool, relay)
    local source = frame:format(of_a or "", of_b or "", pool or "", relay or "")
    net = sim.new { source = source, workers = workers }
    a, b, alice = net:uas("10.0.0.1", "a"), net:uas("10.0.0.2", "b"), net:uac "192.0.2.7"
    a:ring()
    b:ring()
    open_calls = {}
  end

  -- A call that rings: where it went, or the code.
  local function ring()
    local call = alice:invite(uri)
    net:run(0.1)
    open_calls[#open_calls + 1] = not call.done and call or nil
    return call.done and call.code or call.tried[#call.tried], call
  end

  local function rings(n)
    local list = {}
    for i = 1, n do
      list[i] = ring()
    end
    return list
  end

  local function hang_up()
    for _, call in ipairs(open_calls) do
      alice:cancel(call)
    end
    net:run(1)
    open_calls = {}
  end

  for _, policy in ipairs { "ordered", "least_calls", "hash" } do
    it(policy .. ": max_calls is where it ends, and 503 when all are full", function()
      open("max_calls = 2", "max_calls = 1", ('policy = "%s"'):format(policy))
      local list = rings(4)
      table.sort(list, function(x, y) return tostring(x) < tostring(y) end)
      assert.same({ 503, "a", "a", "b" }, list)
      assert.equal(2, net.pools.gw.a.setup)
      assert.equal(2, net.pools.gw.a.max_calls)
      hang_up()
      assert.equal(0, net.pools.gw.a.setup)
      assert.same({ "a" }, { policy == "ordered" and ring() or "a" })
      hang_up()
    end)
  end

  it("says when to try again", function()
    open("max_calls = 0", "max_calls = 0")
    local code, call = ring()
    assert.equal(503, code)
    assert.equal("5", call.headers["Retry-After"])
    assert.same({}, call.tried)
  end)

  it("are for new calls only", function()
    open("max_calls = 0, max_cps = 0.001", "max_calls = 0")
    for _, method in ipairs { "REGISTER", "OPTIONS", "MESSAGE" } do
      assert.equal("a", alice:ask(method, uri).server)
    end
  end)

  it("max_calls counts the calls that are up, until they end", function()
    open("max_calls = 1", "max_calls = 0")
    a:answer("INVITE", 200)
    local call = alice:call(uri)
    assert.equal(200, call.code)
    assert.equal(1, net.pools.gw.a.calls)
    assert.equal(503, alice:call(uri).code)
    assert.equal(200, alice:reinvite(call):wait().code)
    assert.equal(200, alice:bye(call):wait().code)
    local second = alice:call(uri)
    assert.equal(200, second.code)
    alice:bye(second):wait()
  end)

  it("max_cps is calls begun within a second, answered or not", function()
    open("max_cps = 3", "max_calls = 0")
    a:answer("INVITE", 486)
    local codes = {}
    for i = 1, 5 do
      codes[i] = alice:call(uri).code
    end
    assert.same({ 486, 486, 486, 503, 503 }, codes)
    net:run(2)
    assert.equal(486, alice:call(uri).code)
  end)

  it("max_cps lets through what it says, over time", function()
    open("max_cps = 5", "max_calls = 0")
    a:answer("INVITE", 486)
    local passed = 0
    for _ = 1, 200 do -- 20 a second for 10 s
      passed = passed + (alice:call(uri).code == 486 and 1 or 0)
      net:run(0.046)
    end
    assert.near(5 * net.now, passed, 8)
  end)

  it("full beats all_down = \"try\"", function()
    open("max_calls = 1", "max_calls = 1")
    alice:ask("SUBSCRIBE", uri)
    assert.equal("down", net.pools.gw.b.status)
    assert.equal("a", (ring()))
    local code, call = ring()
    assert.equal(503, code)
    assert.same({}, call.tried)
    hang_up()
  end)

  it("goes on to the next server when the first is full in the middle of a call", function()
    open("max_calls = 9", "max_calls = 1")
    assert.equal("a", (ring()))
    a:answer("INVITE", 503)
    assert.equal("b", (ring())) -- a, b
    local code, call = ring()
    assert.equal(500, code) -- a's 503; b is full
    assert.same({ "a" }, call.tried)
    hang_up()
  end)

  describe("resources", function()
    it("are taken while a call rings, and who lacks them gets no such call", function()
      open("resources = { fax = 1 }", "resources = { pstn = 2 }", "", 'resources = { "pstn" }')
      assert.same({ "b", "b", 503 }, rings(3))
      assert.same({ used = 2, capacity = 2 }, net.pools.gw.b.resources.pstn)
      hang_up()
      assert.same({ used = 0, capacity = 2 }, net.pools.gw.b.resources.pstn)
    end)

    it("may be taken several at once", function()
      open("resources = { pstn = 5 }", "", "", "resources = { pstn = 2 }")
      assert.same({ "a", "a", 503 }, rings(3))
      hang_up()
    end)

    it("go back when the server refuses", function()
      open("resources = { pstn = 1 }", "", "", 'resources = { "pstn" }')
      a:answer("INVITE", 486)
      assert.same({ 486, 486, 486 }, rings(3))
      assert.equal(0, net.pools.gw.a.resources.pstn.used)
    end)

    it("stay taken while the call is up", function()
      open("resources = { pstn = 1 }", "", "", 'resources = { "pstn" }')
      a:answer("INVITE", 200)
      local call = alice:call(uri)
      assert.equal(200, call.code)
      assert.equal(1, net.pools.gw.a.resources.pstn.used)
      assert.equal(503, alice:call(uri).code)
      alice:bye(call):wait()
      assert.equal(0, net.pools.gw.a.resources.pstn.used)
    end)
  end)

  it("are not exceeded by more than one per further worker", function()
    open("max_calls = 3", "max_calls = 0")
    local calls = {}
    for i = 1, 40 do
      calls[i] = alice:invite(uri) -- at the same moment
    end
    net:run(0.5)
    assert(net.pools.gw.a.setup >= 3 and net.pools.gw.a.setup <= 3 + workers - 1)
    for i, call in ipairs(calls) do
      open_calls[#open_calls + 1] = not call.done and calls[i] or nil
    end
    hang_up()
  end)
end)
