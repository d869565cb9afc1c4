-- When and how servers are asked, and what counts as an answer.
local fake = require "support.fake_core"
local pbx = require "support.pbx"

local function times(world, server)
  local list = {}
  for _, check in ipairs(world.node.checks) do
    if check.server == server then
      list[#list + 1] = check.at
    end
  end
  return list
end

describe("probe.is_good", function()
  local is_good = fake.new():require("tandem.health.probe").is_good

  it("takes any answer but 5xx by default", function()
    for _, code in ipairs { 200, 302, 403, 404, 405, 486, 600, 603 } do
      assert.is_true(is_good("any", { code = code }), tostring(code))
    end
    for _, code in ipairs { 500, 503, 599 } do
      assert.is_false(is_good("any", { code = code }), tostring(code))
    end
  end)

  it("takes listed codes, or asks a function", function()
    assert.is_true(is_good({ 200, 404 }, { code = 404 }))
    assert.is_false(is_good({ 200, 404 }, { code = 403 }))
    local function is_busy(res)
      return res.code == 486
    end
    assert.is_true(is_good(is_busy, { code = 486 }))
    assert.is_false(is_good(is_busy, { code = 200 }))
  end)
end)

describe("the check", function()
  it("is an OPTIONS to the server, with a timeout, from our own domain", function()
    local world = pbx.new({ "a" }, nil, {
      before = function(sip)
        sip.settings { domains = { "example.com", "example.org" } }
      end,
    })
    world:run(1)
    local spec = world.node.checks[1].spec
    assert.same({ "OPTIONS", "sip:10.0.0.1", "sip:tandem@example.com", 1 },
      { spec.method, spec.uri, spec.from, spec.timeout })
  end)

  it("leaves the sender to the core when no domain is known, or takes the given one", function()
    local world = pbx.new { "a" }
    world:run(1)
    assert.is_nil(world.node.checks[1].spec.from)
    local other = pbx.new({ "a" }, { check = { from = "sip:probe@example.net" } })
    other:run(1)
    assert.equal("sip:probe@example.net", other.node.checks[1].spec.from)
  end)

  it("comes at the interval, give or take the jitter", function()
    local world = pbx.new({ "a" }, { check = { interval = 10, jitter = 0.1 } })
    world:run(200)
    local list, differ = times(world, "pbx/a"), {}
    assert.near(0.5, list[1], 0.5)
    for i = 2, #list do
      local gap = list[i] - list[i - 1]
      assert.near(10, gap, 1.001)
      differ[("%.3f"):format(gap)] = true
    end
    assert(#list >= 18)
    assert.is_not_nil(next(differ, next(differ)), "every gap is the same")
  end)

  it("comes at the fast interval while falling or rising", function()
    local world, pool = pbx.new({ "a" }, {
      check = { interval = 20, fast_interval = 2, jitter = 0, fall = 4, rise = 4 },
    })
    world:run(1)
    world:server("pbx/a", "OPTIONS", 503)
    world:run(30)
    assert.equal("down", pool:server("a").health)
    local list = times(world, "pbx/a")
    assert.same({ 20, 2, 2, 2 }, {
      list[2] - list[1], list[3] - list[2], list[4] - list[3], list[5] - list[4],
    })
  end)

  it("comes at the fast interval while the first verdict is open", function()
    local world = pbx.new({ "a" }, { check = { interval = 20, fast_interval = 2, jitter = 0 } })
    world:server("pbx/a", "OPTIONS", 503)
    world:run(30)
    local list = times(world, "pbx/a")
    assert.same({ 2, 2, 20 }, { list[2] - list[1], list[3] - list[2], list[4] - list[3] })
  end)

  it("finds a silent server in five seconds at worst", function()
    for phase = 0, 20 do
      local world, pool = pbx.new({ "a", "b" }, { check = { jitter = 0 } })
      world:run(10 + phase / 10)
      world:server("pbx/a", "OPTIONS", "silent")
      world:run(5.001)
      assert.equal("down", pool:server("a").health, "silent since " .. phase / 10)
    end
  end)

  it("never has two in flight", function()
    local world = pbx.new({ "a" }, { check = { interval = 2, timeout = 1.9, jitter = 0.5 } })
    world:server("pbx/a", "OPTIONS", "silent")
    world:run(60)
    world:server("pbx/a", "OPTIONS", { code = 200, after = 1.5 })
    world:run(60)
    assert.equal(1, world.node.most_flying)
    assert(#times(world, "pbx/a") > 40)
  end)

  it("does not take what we made ourselves for an answer", function()
    local world, pool = pbx.new({ "a", "b" })
    world:run(3)
    world:server("pbx/a", "OPTIONS", "ring")
    world.core.request = function()
      world.core.sleep(0.1)
      return { code = 408, is_local = true }
    end
    world:run(10)
    assert.equal("down", pool:server("a").health)
  end)

  it("names the cause", function()
    local world = pbx.new({ "a", "b" })
    world:run(3)
    world:server("pbx/a", "OPTIONS", "refuse")
    world:server("pbx/b", "OPTIONS", 503)
    world:run(10)
    assert.equal("refused", world:logged("server.health", { server = "a", to = "down" })[1].reason)
    assert.equal("503", world:logged("server.health", { server = "b", to = "down" })[1].reason)
  end)

  it("says nothing about the server when we have no address to send from", function()
    local world, pool = pbx.new { "a" }
    world:run(3)
    world:server("pbx/a", "OPTIONS", "no_source")
    world:run(20)
    assert.equal("up", pool:server("a").health)
    assert.equal("up", pool:server("a").status)
  end)

  it("drops what arrives after an order", function()
    local world, pool = pbx.new({ "a", "b" }, { check = { interval = 5, timeout = 4, rise = 1 } })
    world:run(6)
    world:server("pbx/a", "OPTIONS", { code = 200, after = 3 })
    local before = #times(world, "pbx/a")
    repeat
      world:run(0.05)
    until #times(world, "pbx/a") > before
    pool:server("a"):mark_down "by hand"
    world:run(3.5) -- the answer to a question from before
    assert.equal("down", pool:server("a").health)
    world:run(10)
    assert.equal("up", pool:server("a").health)
  end)

  it("goes on when a check went wrong", function()
    local world, pool = pbx.new({ "a" }, { check = {
      expect = function(res)
        return res.code == 200 or error "oops"
      end,
    } })
    world:server("pbx/a", "OPTIONS", 404)
    world:run(10)
    assert(#world.errors > 2)
    assert.equal("unknown", pool:server("a").health)
    world:server("pbx/a", "OPTIONS", 200)
    world:run(5)
    assert.equal("up", pool:server("a").health)
  end)

  it("goes on when the task of a check died", function()
    local world, pool = pbx.new { "a" }
    local request, n = world.core.request, 0
    world.core.request = function(spec)
      n = n + 1
      if n == 3 then
        error "killed"
      end
      return request(spec)
    end
    world:run(20)
    assert.equal(1, #world.errors)
    assert(n >= 8, n)
    assert.equal("up", pool:server("a").health)
  end)

  it("is made by worker 0 only", function()
    local world = pbx.new({ "a" }, nil, { worker = 1 })
    world:run(20)
    assert.equal(0, #world.node.checks)
  end)

  it("can be turned off", function()
    local world, pool = pbx.new({ "a" }, { check = false })
    world:run(20)
    assert.equal(0, #world.node.checks)
    assert.same({ "unknown", "up" }, { pool:server("a").health, pool:server("a").status })
  end)

  it("ends with the generation", function()
    local world = pbx.new { "a" }
    world:run(5)
    world:stop()
    local before = #world.node.checks
    world:run(20)
    assert.equal(before, #world.node.checks)
  end)

  it("in flight at the end of the generation says nothing", function()
    local world, pool = pbx.new({ "a" }, { check = { fall = 1 } })
    world:run(3)
    world:server("pbx/a", "OPTIONS", "silent")
    local before = #world.node.checks
    repeat
      world:run(0.05)
    until #world.node.checks > before
    world:stop()
    world:run(5)
    assert.equal("up", pool:server("a").health)
  end)

  it("that was turned off leaves nobody down, unless a script said so", function()
    local world, pool = pbx.new({ "a", "b", "c" })
    world:server("pbx/a", "OPTIONS", "silent")
    world:run(10)
    pool:server("b"):mark_down "bad audio"
    world:stop()
    local _, after = pbx.new({ "a", "b", "c" }, { check = false }, { beside = world })
    assert.same({ "unknown", "down", "unknown" }, {
      after:server("a").health, after:server("b").health, after:server("c").health,
    })
  end)

  it("measures latency", function()
    local world, pool = pbx.new { "a" }
    assert.is_nil(pool:server("a").latency)
    world:server("pbx/a", "OPTIONS", { code = 200, after = 0.2 })
    world:run(2)
    assert.near(0.2, pool:server("a").latency, 0.001)
    world:server("pbx/a", "OPTIONS", { code = 200, after = 0.6 })
    for _ = 1, 40 do
      world:run(pool:server("a").latency > 0.21 and 0 or 0.1)
    end
    assert.near(0.25, pool:server("a").latency, 0.001)
    world:run(60)
    assert.near(0.6, pool:server("a").latency, 0.02)
  end)
end)
