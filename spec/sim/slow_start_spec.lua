-- slow_start: a primary that came back takes its calls little by little.
local sim = require "support.sim"

local uri = "sip:bob@example.com"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1", tier = 1 },
              { name = "b", uri = "sip:10.0.0.2", tier = 2 } },
  check = { interval = 2, timeout = 1, fall = 3, rise = 2, jitter = 0 },
  slow_start = 100, %s })
sip.route(function(req) return req:relay(pbx, { timeout = 1, last_timeout = 1 }) end)
]]

sim.for_workers("slow_start", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  local function open(options)
    net = sim.new { source = frame:format(options), workers = workers }
    a, b, alice = net:uas("10.0.0.1", "a"), net:uas("10.0.0.2", "b"), net:uac "192.0.2.7"
    net:run(3)
  end

  local function until_status(wanted)
    assert.is_true(net:run_until(function()
      return net.pools.pbx.a.status == wanted
    end, 100, 0.1))
  end

  local function fall_and_return(as)
    a:silence()
    until_status "down"
    a:resume()
    until_status(as)
  end

  -- How many of 100 requests the primary gets now; it takes 0.4 s.
  local function share()
    local count = 0
    for _ = 1, 100 do
      local call = alice:ask("MESSAGE", uri)
      assert.equal(200, call.code)
      count = count + (call.server == "a" and 1 or 0)
    end
    return count
  end

  it("is not for the start of the proxy", function()
    open "failback = { hold = 0 }"
    assert.equal(100, share())
    assert.equal(1, net.pools.pbx.a.slow_start)
  end)

  it("grows from a tenth to all of it, also across tiers", function()
    open "failback = { hold = 0 }"
    fall_and_return "up"
    assert.near(10, share(), 9)
    net:run(50)
    assert.near(0.55, net.pools.pbx.a.slow_start, 0.02)
    assert.near(55, share(), 15)
    net:run(50)
    assert.equal(100, share())
  end)

  it("begins when the failback hold ends", function()
    open "failback = { hold = 30 }"
    fall_and_return "held"
    assert.equal(0, share())
    until_status "up"
    assert.near(10, share(), 9)
    net:run(100)
    assert.equal(100, share())
  end)

  it("refuses nobody when the backup goes", function()
    open "failback = { hold = 0 }"
    fall_and_return "up"
    b:refuse()
    for _ = 1, 20 do
      local call = alice:ask("MESSAGE", uri)
      assert.equal(200, call.code)
      assert.equal("a", call.server)
    end
  end)

  it("lets a call that the primary refused to take come to it when the backup fails", function()
    open "failback = { hold = 0 }"
    fall_and_return "up"
    b:on("MESSAGE", function() end)
    local seen = {}
    for _ = 1, 10 do
      seen[table.concat(alice:ask("MESSAGE", uri).tried)] = true
    end
    assert.is_true(seen.ba)
  end)

  it("is the same after a reload", function()
    open "failback = { hold = 0 }"
    fall_and_return "up"
    net:run(20)
    local before = net.pools.pbx.a.slow_start
    assert(net:reload { source = frame:format "failback = { hold = 0 }" })
    assert.near(before, net.pools.pbx.a.slow_start, 0.001)
    assert.near(28, share(), 14)
  end)
end)
