-- When servers are checked, and from where: down_interval, `when`, `socket`.
local sim = require "support.sim"
local policy = require "support.policy"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

local frame = [[
local sip = require "tandem"
sip.listen { %s }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1", tier = 1 },
              { name = "b", uri = "sip:10.0.0.2", tier = 2 } },
  attempt = { timeout = 1, last_timeout = 1 },
  %s })
local a, b = pbx:server "a", pbx:server "b"
local _ = { a, b }
sip.route(function(req) return req:relay(pbx) end)
%s
]]

-- The times of the checks, each once.
local function times_of(ua, method)
  local seen, list = {}, {}
  for _, check in ipairs(ua:got(method)) do
    if not seen[check.branch] then
      seen[check.branch] = true
      list[#list + 1] = math.floor(check.time * 10 + 0.5) / 10
    end
  end
  return list
end

local function gaps(list)
  local out = {}
  for i = 2, #list do
    out[#out + 1] = math.floor((list[i] - list[i - 1]) * 10 + 0.5) / 10
  end
  return out
end

sim.for_workers("checks", function(workers)
  after_each(sim.finish)

  local w

  local function open(pool, after, listen)
    w = policy.world {
      workers = workers,
      source = frame:format(listen or '"udp:0.0.0.0:5060"', pool, after or ""),
    }
  end

  local function health(name)
    return w.net.pools.pbx[name].health
  end

  local function status(name)
    return w.net.pools.pbx[name].status
  end

  describe("of a server that is down", function()
    it("come every interval: no back-off by itself", function()
      open "check = { interval = 2, fall = 1, jitter = 0 }"
      w.a:silence()
      w.net:run(40)
      for _, gap in ipairs(gaps(times_of(w.a, "OPTIONS"))) do
        assert.equal(2, gap)
      end
    end)

    it("come every down_interval, if there is one", function()
      open "check = { interval = 2, down_interval = 10, fall = 1, rise = 2, jitter = 0 }"
      w.a:silence()
      w.net:run(25)
      assert.same({ 10, 10 }, gaps(times_of(w.a, "OPTIONS")))
      w.a:resume()
      w.net:run(9) -- the next finds it rising: that is looked at faster
      assert.same({ 10, 10, 10, 1, 2 }, { table.unpack(gaps(times_of(w.a, "OPTIONS")), 1, 5) })
      assert.equal("up", health "a")
    end)

    it("back off from one to the other, and begin anew after the next fall", function()
      open("check = { interval = 2, down_interval = { 2, 15 }, fall = 1, rise = 1, jitter = 0 }, "
        .. "failback = { hold = 0 }")
      w.a:silence()
      w.net:run(65)
      assert.same({ 2, 4, 8, 15, 15, 15 },
        { table.unpack(gaps(times_of(w.a, "OPTIONS")), 1, 6) })
      w.a:resume()
      w.net:run(20)
      assert.equal("up", health "a")
      w.a:silence()
      local before = #times_of(w.a, "OPTIONS")
      w.net:run(20)
      local after = { table.unpack(times_of(w.a, "OPTIONS"), before + 1) }
      assert.same({ 2, 4, 8 }, { table.unpack(gaps(after), 1, 3) })
    end)
  end)

  describe("with when = 'down'", function()
    local down = "check = { when = 'down', interval = 5, fall = 1, rise = 1, jitter = 0 }, "
      .. "passive = { fall = 1, hold = 0 }, failback = { hold = 0 }"

    it("are only of servers that calls took down, one interval later", function()
      open(down)
      w.net:run(20)
      assert.same({ "", "" }, { wire.names(w.a.received), wire.names(w.b.received) })
      assert.equal("up", status "a")
      w.a:silence()
      assert.same({ "a", "b" }, w.alice:call(uri).tried)
      assert.equal("down", health "a")
      local fell = w.net.now
      w.net:run(12)
      assert.same({ 5, 5 }, gaps { fell - fell % 0.1, table.unpack(times_of(w.a, "OPTIONS")) })
      w.a:resume()
      w.net:run(6)
      assert.equal("up", status "a")
      local n = #w.a:got "OPTIONS"
      w.net:run(30)
      assert.equal(n, #w.a:got "OPTIONS")
      assert.same({ "a" }, w.alice:call(uri).tried)
    end)

    it("need `rise` good ones and the end of the hold", function()
      open("check = { when = 'down', interval = 2, rise = 2, jitter = 0 }, "
        .. "passive = { fall = 1, hold = 20 }, failback = { hold = 0 }")
      w.a:on("INVITE", function() end)
      w.alice:call(uri)
      assert.equal("down", status "a")
      w.net:run(10)
      assert.same({ "up", "held" }, { health "a", status "a" })
      w.net:run(11)
      assert.equal("up", status "a")
    end)

    it("do not rank a server last that nobody has asked about", function()
      open(down)
      assert.equal("unknown", health "a")
      assert.same({ "a" }, w.alice:call(uri).tried)
    end)
  end)

  describe("with when = 'backup'", function()
    local phone = "check = { method = 'REGISTER', when = 'backup', interval = 1800, "
      .. "timeout = 32, fall = 1, rise = 1, jitter = 0 }, "
      .. "passive = { fall = 1, hold = 0 }, failback = { hold = 0 }"

    it("ask for the first server while on the backup; one answer goes back", function()
      open(phone)
      w.net:run(4000)
      assert.equal(0, #w.a.received + #w.b.received)
      w.a:silence()
      assert.same({ "a", "b" }, w.alice:call(uri).tried)
      assert.equal("backup", w.net.pools.pbx.state)
      assert.same({ "b" }, w.alice:call(uri).tried)
      w.net:run(1790)
      assert.equal(0, #w.a:got "REGISTER")
      w.net:run(20) -- asked, no answer
      assert.equal(1, #times_of(w.a, "REGISTER"))
      w.net:run(100)
      w.a:resume()
      w.net:run(1680)
      assert.equal("backup", w.net.pools.pbx.state)
      w.net:run(30) -- asked again, answered
      assert.equal("up", w.net.pools.pbx.state)
      assert.equal(0, #w.b:got "REGISTER")
      assert.same({ "a" }, w.alice:call(uri).tried)
      local n = #w.a:got "REGISTER"
      w.net:run(4000)
      assert.equal(n, #w.a:got "REGISTER")
    end)

    it("ask all when nothing is usable", function()
      open("check = { when = 'backup', interval = 10, fall = 1, rise = 1, jitter = 0 }, "
        .. "passive = { fall = 1, hold = 0 }, keep = 0, failback = { hold = 0 }")
      w.a:silence()
      w.b:silence()
      w.alice:call(uri)
      assert.equal("down", w.net.pools.pbx.state)
      w.b:resume()
      w.net:run(12)
      assert.equal("backup", w.net.pools.pbx.state)
      w.a:resume()
      w.net:run(12)
      assert.equal("up", w.net.pools.pbx.state)
      local n = #w.b:got "OPTIONS"
      w.net:run(30)
      assert.equal(n, #w.b:got "OPTIONS")
    end)

    it("begin again after a reload", function()
      open("check = { when = 'backup', interval = 10, fall = 1, rise = 1, jitter = 0 }, "
        .. "passive = { fall = 1, hold = 0 }, failback = { hold = 0 }")
      w.a:silence()
      w.alice:call(uri)
      assert(w.net:reload())
      w.net:run(12)
      assert.equal(1, #times_of(w.a, "OPTIONS"))
    end)
  end)

  it("stop in maint, and begin at once when that is over", function()
    open("check = { interval = 100, jitter = 0 }", [[
      sip.after(5, function() a:maint() end)
      sip.after(150, function() a:ready() end)
    ]])
    w.net:run(149)
    assert.same({ 0 }, times_of(w.a, "OPTIONS"))
    w.net:run(2)
    assert.same({ 0, 150 }, times_of(w.a, "OPTIONS"))
    assert.equal("up", health "a")
  end)

  describe("leave from", function()
    local listen = '"udp:10.0.0.200:5060", "udp:10.0.0.100:5060", "udp:10.0.0.101:5060"'
    local check = "check = { jitter = 0, interval = 2%s }"

    local function sources()
      local last
      for _, message in ipairs(w.a:got "OPTIONS") do
        last = message.source
      end
      return last
    end

    it("the address of the traffic while that is ours", function()
      open(check:format(", socket = 'udp:10.0.0.101:5060'"), nil, listen)
      w.net:run(3)
      assert.equal("10.0.0.200:5060", sources())
      assert.same({ "a" }, w.alice:call(uri).tried)
      assert.equal("10.0.0.200:5060", w.a:got("INVITE")[1].source)
    end)

    it("check.socket on a standby, never from an address it does not own", function()
      open(check:format(", socket = 'udp:10.0.0.101:5060'"), nil, listen)
      w.net.nodes[1]:drop "10.0.0.200"
      w.net:run(10)
      for _, packet in ipairs(w.net:packets()) do
        if packet.bytes:find "^OPTIONS" and packet.time > 0.5 then
          assert.equal("10.0.0.101:5060", packet.from)
        end
      end
      assert.equal("up", health "a")
      w.net.nodes[1]:take "10.0.0.200" -- it takes over, and knows
      local bob = w.net:uac("192.0.2.8", { proxy = "10.0.0.200:5060" })
      assert.same({ "a" }, bob:call(uri).tried)
      w.net:run(3)
      assert.equal("10.0.0.200:5060", sources())
    end)

    it("any listener that is ours, without a socket", function()
      open(check:format "", nil, listen)
      w.net.nodes[1]:drop "10.0.0.200"
      w.net:run(10)
      assert.equal("10.0.0.100:5060", sources())
      assert.equal("up", health "a")
    end)

    it("nowhere without one: that is not the server's failure", function()
      open(check:format "", nil, '"udp:10.0.0.200:5060"')
      w.net:run(3)
      assert.equal("up", health "a")
      local n = #w.a:got "OPTIONS"
      w.net.nodes[1]:drop "10.0.0.200"
      w.net:run(30)
      assert.equal("up", health "a")
      assert.equal(n, #w.a:got "OPTIONS")
    end)

    it("a listener that must be one of ours", function()
      local source = frame:format('"udp:10.0.0.100:5060"',
        check:format ", socket = 'udp:10.0.0.9:5060'", "")
      assert.matches("pool 'pbx': check.socket: 'udp:10.0.0.9:5060' is no listener of ours",
        policy.load_error(source))
      source = frame:format('"udp:10.0.0.100:5060"', check:format ", socket = 'x'", "")
      assert.matches("pool 'pbx': check.socket: 'x': ", policy.load_error(source))
    end)
  end)
end)
