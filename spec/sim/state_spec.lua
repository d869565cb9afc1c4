-- The calls that are up outlive the process: a snapshot in state_dir, written every
-- second and at the end, read at the start.
local sim = require "support.sim"
local policy = require "support.policy"

sim.for_workers("a proxy with a state_dir", function(workers)
  local net, node, a, b, alice

  local function start(opts)
    opts = opts or {}
    opts.workers = workers
    opts.before = opts.before or 'sip.settings { state_dir = "/var/lib/tandem" }'
    opts.pool = opts.pool or "max_duration = 1000"
    local w = policy.world(opts)
    net, a, b, alice = w.net, w.a, w.b, w.alice
    node = net.nodes[1]
  end

  local function counted()
    return { net.pools.pbx.a.calls, net.pools.pbx.b.calls }
  end

  local function call()
    local made = alice:call "sip:bob@example.com"
    assert.equal(200, made.code)
    return made
  end

  after_each(sim.finish)

  it("knows its calls after a stop, and when they end", function()
    start()
    local first, second = call(), call()
    net:run(0.1)
    node:stop()
    node:start()
    assert.same({ 2, 0 }, counted())
    assert.equal(2, net:metric "tandem_calls_restored_total")
    alice:bye(first)
    a:bye(second)
    net:run(1)
    assert.same({ 0, 0 }, counted())
  end)

  it("knows them after a crash, but for the last second", function()
    start()
    local first = call()
    net:run(1.5)
    call()
    local gone = call()
    alice:bye(gone)
    net:run(0.1)
    node:crash()
    node:start()
    assert.same({ 1, 0 }, counted())
    alice:bye(first)
    net:run(1)
    assert.same({ 0, 0 }, counted())
  end)

  it("forgets what ended within the second before a crash only in time", function()
    start()
    local made = call()
    net:run(1.5)
    alice:bye(made)
    net:run(0.2)
    node:crash()
    node:start()
    assert.same({ 1, 0 }, counted()) -- nobody will hang up any more
    net:run(1000)
    assert.same({ 0, 0 }, counted())
  end)

  it("lets session timers and max_duration go on meanwhile", function()
    start()
    a:once("INVITE", 200, { ["Session-Expires"] = "90" })
    call()
    call()
    net:run(1.5)
    node:crash()
    net:run(100)
    node:start()
    assert.same({ 2, 0 }, counted())
    net:run(22)
    assert.same({ 1, 0 }, counted())
    node:stop()
    net:run(900)
    node:start()
    assert.same({ 0, 0 }, counted())
    assert.equal(1, net:metric("tandem_calls_not_restored_total", { reason = "run_out" }))
  end)

  it("takes no part of a second longer when the clock was put back", function()
    start()
    call()
    net:run(1.5)
    node:crash()
    node:skew(-1e6)
    node:start()
    net:run(999)
    assert.same({ 1, 0 }, counted())
    net:run(2)
    assert.same({ 0, 0 }, counted())
  end)

  it("has another number of workers", function()
    start()
    local calls = {}
    for i = 1, 10 do
      calls[i] = call()
    end
    net:run(0.1)
    node:stop()
    node.opts.workers = 3 - workers
    node:start()
    assert.same({ 10, 0 }, counted())
    for _, made in ipairs(calls) do
      alice:bye(made)
    end
    net:run(1)
    assert.same({ 0, 0 }, counted())
  end)

  it("has other servers", function()
    start()
    call()
    net:run(0.1)
    local script = node.opts.source
    node:stop()
    node.opts.source = script:gsub('name = "a"', 'name = "z"')
      :gsub('pbx:server "a"', 'pbx:server "z"')
    node:start()
    assert.equal(1, net:metric("tandem_calls_not_restored_total", { reason = "unknown_server" }))
    assert.same({ 0, 0 }, { net.pools.pbx.z.calls, net.pools.pbx.b.calls })
  end)

  it("counts resources again, by name", function()
    start {
      handler = [[
        local res = req:_try({ { facts = f } }, { timeout = 2, resources = { pstn = 3 } })
        if res then res:forward() else req:reply(500) end]],
      before = [[
        local core = require "tandem.core"
        sip.settings { state_dir = "/var/lib/tandem" }
        local f = core.member("raw", "x", { addr = "10.0.0.3:5060", resources = { "pstn" } })
        sip.route("OPTIONS", function(req)
          sip.log.info("used " .. f:used "pstn")
          req:reply(200)
        end)]],
    }
    local made = call()
    net:run(0.1)
    node:stop()
    node.opts.source = node.opts.source:gsub('{ "pstn" }', '{ "conf", "pstn" }')
    node:start()
    local function used()
      alice:ask("OPTIONS", "sip:x@example.com")
      local said = policy.said(net)
      return said[#said]
    end
    assert.equal("used 3", used())
    alice:bye(made)
    net:run(1)
    assert.equal("used 0", used())
  end)

  it("takes a damaged snapshot for none, and says so once", function()
    for _, damage in ipairs {
      function(bytes) return bytes:sub(1, -2) end,
      function(bytes) return bytes:sub(1, 40) .. "x" .. bytes:sub(42) end,
      function() return "rubbish" end,
    } do
      start()
      call()
      net:run(0.1)
      node:stop()
      node:disk(damage(node:disk()))
      node:start()
      assert.equal(1, net:count("state.damaged", { file = "calls" }))
      assert.is_true(net.pools.pbx.a.calls < 2)
      call() -- it works all the same, and writes a new one
      net:run(2)
      node:crash()
      node:start()
      assert.equal(1, net:count "state.damaged")
      assert.is_true(net.pools.pbx.a.calls >= 1)
      sim.finish()
    end
  end)

  it("takes that of another key for damaged", function()
    start()
    call()
    net:run(0.1)
    node:stop()
    node.opts.key = "another key 0123"
    node:start()
    assert.equal(1, net:count "state.damaged")
    assert.same({ 0, 0 }, counted())
  end)

  it("keeps nothing without one", function()
    start { before = "" }
    call()
    net:run(2)
    node:stop()
    assert.equal("", node:disk())
    node:start()
    assert.same({ 0, 0 }, counted())
  end)

  it("writes nothing while nothing changes", function()
    start()
    call()
    net:run(2)
    local before = node:disk()
    assert.is_true(#before > 0)
    net:run(10)
    assert.equal(before, node:disk())
    b:answer("INVITE", 200)
    call()
    net:run(2)
    assert.is_true(#node:disk() > #before)
  end)
end)
