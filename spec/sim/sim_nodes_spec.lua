-- Nodes of the simulated network that stop for a while, and addresses that several of
-- them believe to have.
local sim = require "support.sim"
local ipairs, table = ipairs, table

local uri, vip = "sip:bob@example.com", "10.0.0.200"

local source = [[
local sip = require "tandem"
sip.listen { "udp:10.0.0.200:5060", "tcp:10.0.0.200:5060" }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1" } }, check = false,
})
local function tick() sip.log.info "tick" end
sip.every(1, tick)
sip.route(function(req) return req:relay(pbx) end)
]]

sim.for_workers("nodes", function(workers)
  after_each(sim.finish)

  local net, one, two, a, alice

  before_each(function()
    net = sim.new { source = source, workers = workers, addr = { "10.0.0.101", vip } }
    one = net.nodes[1]
    two = net:node { addr = "10.0.0.102" }
    a = net:uas("10.0.0.1", "a")
    alice = net:uac("192.0.2.7", { name = "alice", proxy = vip })
  end)

  -- Which nodes were sent a request with that Call-ID, in order.
  local function reached(call, from)
    local list = {}
    for _, packet in ipairs(net:packets()) do
      if packet.from == (from or alice.addr) and packet.bytes:find(call.id, 1, true)
        and packet.bytes:find "^INVITE" then
        list[#list + 1] = packet.to_machine == one.machine and 1 or 2
      end
    end
    return table.concat(list)
  end

  local function pinged(node)
    local n = 0
    for _, event in ipairs(net.events) do
      n = n + (event.event == "script" and event.node == node.id and 1 or 0)
    end
    return n
  end

  describe("that are paused", function()
    it("do nothing, and then all at once", function()
      net:run(1.5)
      local ticks = pinged(one)
      one:pause()
      local call = alice:invite(uri)
      net:run(4)
      assert.same({}, a.received)
      assert.equal(ticks, pinged(one))
      assert.equal("flying", net:packets()[#net:packets()].fate)
      one:resume()
      net:run(0.1)
      -- Alice sent it four times, and it is one request.
      assert.equal(200, call.code)
      assert.equal(1, #a:got "INVITE")
      assert.equal(5.502, net.now - 0.098) -- not before
      assert.near(5.5, a:got("INVITE")[1].time, 0.0015)
      assert.equal(ticks + 1, pinged(one))
      alice:bye(call)
    end)

    it("lose what their sockets do not take", function()
      one:pause { buffer = 2000 }
      local calls = {}
      for i = 1, 8 do
        calls[i] = alice:invite(uri)
      end
      net:run(0.2)
      local full = 0
      for _, packet in ipairs(net:packets()) do
        full = full + (packet.fate == "full" and 1 or 0)
      end
      assert(full > 0 and full < 8, full)
      one:resume()
      net:run(1)
      assert.equal(8, #a:got "INVITE")
      for i = 1, 8 do
        alice:bye(calls[i])
      end
    end)

    it("have what came before their address went", function()
      one:pause()
      local call = alice:invite(uri)
      net:run(0.3)
      two:take(vip)
      net:run(0.3) -- her repetition
      assert.equal(200, call.code)
      local sent = #net:packets()
      one:resume()
      net:run(0.01)
      for i = sent + 1, #net:packets() do
        -- What it would send has no source.
        local packet = net:packets()[i]
        assert(packet.node ~= one.id or packet.fate == "nobody", packet.fate)
      end
      assert.equal(1, #a:got "INVITE")
      alice:bye(call)
    end)

    it("may be killed", function()
      one:pause()
      local call = alice:invite(uri)
      net:run(0.3)
      one:crash()
      assert.equal("dead", net:packets()[1].fate)
      one:start()
      net:run(0.3)
      assert.equal(200, call.code)
      alice:bye(call)
    end)

    it("hear no other signal", function()
      one:pause()
      assert.has_error(function() one:stop() end,
        "proxy is paused, and hears no signals")
      assert.has_error(function() one:drain() end,
        "proxy is paused, and hears no signals")
      assert.has_error(function() one:reload() end,
        "proxy is paused, and hears no signals")
    end)

    it("keep connections and what comes on them", function()
      local carol = net:uac("tcp:192.0.2.8", { name = "carol", proxy = "tcp:" .. vip })
      carol:connect()
      net:run(0.1)
      one:pause()
      local call = carol:invite(uri)
      local dave = net:uac("tcp:192.0.2.9", { name = "dave", proxy = "tcp:" .. vip })
      local second = dave:invite(uri)
      net:run(4)
      assert.equal("up", carol:connections()[1].state)
      assert.equal("up", dave:connections()[1].state)
      assert.same({}, a.received)
      one:resume()
      net:run(0.1)
      assert.equal(200, call.code)
      assert.equal(200, second.code)
      carol:bye(call)
      dave:bye(second)
    end)

    it("find a connection ended that ended meanwhile, after what came on it", function()
      local carol = net:uac("tcp:192.0.2.8", { name = "carol", proxy = "tcp:" .. vip })
      carol:connect()
      net:run(0.1)
      one:pause()
      carol:invite(uri)
      net:run(0.1)
      carol:close()
      net:run(1)
      one:resume()
      net:run(0.1)
      assert.equal(1, #a:got "INVITE")
      assert.equal(1, net:count("flow.down", { node = one.id }))
    end)
  end)

  describe("of a split brain", function()
    it("are sent everything, all of them", function()
      net:split(vip, { one, two })
      local call = alice:call(uri)
      assert.equal("12", reached(call))
      alice:bye(call)
    end)

    it("are sent it in turn, and take half a second each", function()
      net:split(vip, { one, two }, { switch = 0.5 })
      local seen = ""
      for _ = 1, 6 do
        local call = alice:call(uri)
        seen = seen .. reached(call)
        net:run(0.01)
        alice:bye(call)
        net:run(0.24)
      end
      assert.equal("112211", seen)
    end)

    it("are sent it at random", function()
      a:silence()
      net:split(vip, { one, two }, { random = true })
      local seen = ""
      for _ = 1, 20 do
        seen = seen .. reached(alice:invite(uri))
      end
      assert.matches("1", seen)
      assert.matches("2", seen)
      net:run(40)
    end)

    it("are so for one machine only, if that is what is wrong", function()
      local bob = net:uac("192.0.2.8", { name = "bob", proxy = vip })
      net:split(vip, { two }, { from = bob })
      assert.equal("1", reached(alice:invite(uri)))
      assert.equal("2", reached(bob:invite(uri), bob.addr))
      net:run(1)
    end)

    it("are none any more when one takes the address", function()
      net:split(vip, { one, two })
      two:take(vip)
      local call = alice:call(uri)
      assert.equal("2", reached(call))
      alice:bye(call)
    end)

    it("nor when all but one have given it up", function()
      net:split(vip, { one, two })
      one:drop(vip)
      local call = alice:call(uri)
      assert.equal("2", reached(call))
      alice:bye(call)
    end)

    it("share the connections of who opens one", function()
      local carol = net:uac("tcp:192.0.2.8", { name = "carol", proxy = "tcp:" .. vip })
      net:split(vip, { one, two }, { switch = 0.5 })
      net:run(0.6)
      local call = carol:call(uri)
      assert.equal("2", reached(call, carol:connections()[1] and
        net:packets()[1].from))
      net:run(0.5)
      carol:bye(call)
      net:run(0.1)
      assert.equal(1, #a:got "BYE")
    end)
  end)
end)
