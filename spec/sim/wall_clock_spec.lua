-- The wall clock of a machine is set, by an operator or by NTP: it is written into the
-- log and nothing else depends on it. Timers, checks, holds and rates go on as ever.
local sim = require "support.sim"

local uri = "sip:bob@example.com"

local script = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:10.0.0.1", tier = 1, max_cps = 2 },
    { name = "b", uri = "sip:10.0.0.2", tier = 2 },
  },
  check = { interval = 10, fast_interval = 2, timeout = 1, fall = 2, rise = 2, jitter = 0 },
  failback = { hold = 60 },
})
sip.route(function(req) return req:relay(pbx, { timeout = 3 }) end)
]]

sim.for_workers("A wall clock", function(workers)
  after_each(sim.finish)

  for _, jump in ipairs { 3600, -3600 } do
    local name = jump > 0 and "that jumps ahead an hour" or "that is put back an hour"

    local function open(start)
      local net = sim.new { source = script, workers = workers }
      local a, b = net:uas "10.0.0.1", net:uas "10.0.0.2"
      net:run(start or 5)
      return net, a, b, net:uac "192.0.2.7"
    end

    it(name .. " makes no attempt shorter or longer", function()
      local net, a, _, alice = open()
      a:silence()
      net:after(1, function() net.nodes[1]:skew(jump) end)
      local call = alice:call(uri)
      assert.equal("b", call.server)
      assert.near(3, call.elapsed, 0.1)
    end)

    it(name .. " repeats nothing and forgets nothing", function()
      local net, a, _, alice = open()
      a:ring(20)
      local call = alice:invite(uri)
      net:run(1)
      net.nodes[1]:skew(jump)
      net:run(30)
      assert.equal(200, call.code)
      assert.equal(1, #a:got "INVITE")
      net.nodes[1]:skew(jump)
      net:run(40)
      alice:bye(call)
      net:run(1)
      assert.equal(1, #a:got "BYE")
    end)

    it(name .. " is no reason to check, nor to wait", function()
      local net, a = open(5)
      local before = #a:got "OPTIONS"
      net.nodes[1]:skew(jump)
      net:run(1)
      assert.equal(before, #a:got "OPTIONS")
      net:run(100)
      assert.near(10, #a:got "OPTIONS" - before, 1)
      assert.equal("up", net.pools.pbx.a.health)
    end)

    it(name .. " ends no failback hold, and makes none longer", function()
      local net, a, _, alice = open()
      a:silence()
      net:run(30)
      a:resume()
      net:run_until(function() return net.pools.pbx.a.health == "up" end)
      net.nodes[1]:skew(jump)
      net:run(50)
      assert.equal("b", alice:call(uri).server)
      net:run(11)
      assert.equal("a", alice:call(uri).server)
    end)

    it(name .. " changes no rate", function()
      local net, _, _, alice = open()
      local servers = {}
      for i = 1, 4 do
        servers[i] = alice:call(uri).server
        net.nodes[1]:skew(jump)
      end
      assert.same({ "a", "a", "b", "b" }, servers)
      net:run(1.5)
      assert.equal("a", alice:call(uri).server)
    end)
  end
end)
