-- Virtual addresses: two machines with one script, of which one has the address that
-- callers use (semantics 21, checklist 80).
local sim = require "support.sim"
local ipairs, table = ipairs, table

local uri, key = "sip:bob@example.com", "0123456789abcdef"
local vip, vip6 = "10.0.0.200", "2001:db8::200"

local frame = [[
local sip = require "tandem"
sip.listen { %s }
%s
local pbx = sip.pool("pbx", {
  servers = { %s },
  check = { interval = 2, jitter = 0 }, failback = { hold = 30 },
  passive = { fall = 1 },
})
sip.route(function(req)
  if not req:relay(pbx, { timeout = 2 }) then return req:reply(500) end
end)
]]

-- The virtual address and those of both machines: every script listens on all.
local listen = '"udp:10.0.0.200:5060", "udp:10.0.0.101:5060", "udp:10.0.0.102:5060"'
local primary_and_backup = '{ name = "a", uri = "sip:10.0.0.1" }, '
  .. '{ name = "b", uri = "sip:10.0.0.2", tier = 2 }'

sim.for_workers("a virtual address", function(workers)
  after_each(sim.finish)

  local net, active, standby, a, b, alice

  -- opts: listen, servers (text), vips (a list), a, b (addresses), alice.
  local function open(opts)
    opts = opts or {}
    local vips = opts.vips or { vip }
    net = sim.new {
      source = frame:format(opts.listen or listen, opts.before or "",
        opts.servers or primary_and_backup),
      workers = workers, key = key,
      hosts = opts.hosts,
      addr = { "10.0.0.101", "2001:db8::101", table.unpack(vips) },
    }
    active = net.nodes[1]
    standby = net:node { addr = { "10.0.0.102", "2001:db8::102" }, key = key }
    a, b = net:uas(opts.a or "10.0.0.1", "a"), net:uas("10.0.0.2", "b")
    alice = net:uac(opts.alice or "192.0.2.7",
      { name = "alice", proxy = opts.proxy or vip .. ":5060" })
  end

  -- The machine that has the addresses is lost, and the other one takes them.
  local function take_over(...)
    active:power_off()
    for _, ip in ipairs { ... } do
      standby:take(ip)
    end
  end

  -- What a node has sent: the addresses, each once.
  local function sources(node)
    local seen, list = {}, {}
    for _, packet in ipairs(net:packets()) do
      if packet.node == node.id and not seen[packet.from] then
        seen[packet.from] = true
        list[#list + 1] = packet.from
      end
    end
    table.sort(list)
    return list
  end

  describe("that is elsewhere for ten minutes", function()
    before_each(function() open() end)

    it("does not keep the standby from knowing who lives", function()
      net:run(120)
      a:crash()
      net:run(180)
      assert.equal("down", standby.pools.pbx.a.status)
      a:resume()
      b:crash()
      net:run(120)
      assert.equal("up", standby.pools.pbx.a.status)
      assert.equal("down", standby.pools.pbx.b.status)
      b:resume()
      a:silence()
      net:run(180)
      assert.equal(600, net.now)
      assert.same({ "10.0.0.102:5060" }, sources(standby))
      take_over(vip)
      local call = alice:call(uri)
      assert.same({ "b" }, call.tried)
      assert(call.elapsed < 0.1)
      assert.equal(vip .. ":5060", b:got("INVITE")[1].source)
    end)

    it("moves with the primary back for long enough", function()
      a:crash()
      net:run(570)
      a:resume()
      net:run(25) -- it answers again, and is on hold
      assert.equal("held", standby.pools.pbx.a.status)
      take_over(vip)
      assert.same({ "b" }, alice:call(uri).tried)
      net:run(30)
      assert.same({ "a" }, alice:call(uri).tried)
    end)
  end)

  describe("that is taken away", function()
    before_each(function()
      open()
      net:run(5)
    end)

    it("is no server's failure", function()
      a:silence()
      local call = alice:invite(uri)
      net:run(0.1)
      active:drop(vip)
      standby:take(vip)
      net:run(0.9) -- a is sent it again, which does not work any more; b neither
      local request = net:count("request", { node = active.id,
        tried = function(tried)
          return tried:find "^pbx/a:no_source" and tried:find "pbx/b:no_source"
        end })
      assert.equal(1, request)
      a:resume()
      net:run(3)
      assert.equal(200, call.code) -- without a 100 the caller asked the other machine
      alice:bye(call)
      net:run(60)
      for _, node in ipairs { active, standby } do
        for _, server in ipairs { "a", "b" } do
          assert.equal("up", node.pools.pbx[server].status)
        end
      end
      assert.equal(0, net:count("server.health", { to = "down" }))
    end)

    it("takes along the calls that ring, and each ends as it would have", function()
      net:finish()
      open { before = 'sip.settings { nodes = { "10.0.0.101", "10.0.0.102" } }' }
      net:run(5)
      a:on("INVITE", function(_, reply)
        reply(180)
        a:after(2, function() reply(486) end)
      end)
      local call = alice:invite(uri)
      net:run(1)
      active:drop(vip)
      standby:take(vip)
      net:run(10)
      assert.equal(486, call.code)
      assert.equal(1, #a:got "ACK")
      a:ring()
      local cancelled = alice:invite(uri)
      net:run(1)
      standby:drop(vip)
      active:take(vip)
      alice:cancel(cancelled)
      net:run(10)
      assert.equal(487, cancelled.code)
      net:run(60)
    end)

    it("takes along a crowd of them", function()
      net:finish()
      open { before = 'sip.settings { nodes = { "10.0.0.101", "10.0.0.102" } }' }
      net:run(5)
      a:on("INVITE", function(_, reply)
        reply(180)
        a:after(2, function() reply(486) end)
      end)
      local calls = {}
      for i = 1, 300 do
        calls[i] = alice:invite(uri)
      end
      net:run(1)
      active:drop(vip)
      standby:take(vip)
      net:run(10)
      for i = 1, 300 do
        assert.equal(486, calls[i].code)
      end
      net:run(60)
    end)

    it("keeps what a server has refused until it is back", function()
      a:on("INVITE", function(_, reply)
        reply(180)
        a:after(2, function() reply(486) end)
      end)
      local call = alice:invite(uri)
      net:run(1)
      active:pause()
      net:run(2)
      active:drop(vip)
      active:resume()
      net:run(1)
      assert.equal("ringing", call.state)
      active:take(vip)
      net:run(10)
      assert.equal(486, call.code)
      assert.equal(1, #a:got "ACK")
      net:run(60)
    end)

    it("takes along the right to refuse a call, also when it comes back", function()
      a:silence()
      local call = alice:invite(uri)
      net:run(0.1)
      active:drop(vip)
      standby:take(vip)
      net:run(0.2) -- before it is sent again
      a:resume()
      a:ring(20)
      net:run(5) -- no server can be asked by the machine without the address
      assert.equal("ringing", call.state)
      standby:drop(vip)
      active:take(vip)
      net:run(30)
      assert.same({}, alice:got(500))
      assert.equal(200, call.code)
      assert.equal(1, active:metric("tandem_dropped_total", { reason = "no_source" }))
      alice:bye(call)
      net:run(60)
    end)

    it("leaves the checks to the machine's own", function()
      active:drop(vip)
      local from = net.now
      net:run(60)
      assert.equal("up", active.pools.pbx.a.status)
      for _, packet in ipairs(net:packets()) do
        if packet.node == active.id and packet.time > from then
          assert.equal("10.0.0.101:5060", packet.from)
        end
      end
      assert.equal(0, net:count("server.health", { from = "up" }))
    end)

    it("keeps neither calls nor callers of the other addresses", function()
      active:drop(vip)
      local bob = net:uac("192.0.2.8", { name = "bob", proxy = "10.0.0.101:5060" })
      assert.same({ "a" }, bob:call(uri).tried)
      assert.equal("10.0.0.101:5060", a:got("INVITE")[1].source)
    end)
  end)

  describe("that moves in mid-call", function()
    -- Who hangs up gets through, by the machine that never saw the call. What the
    -- server was asked, and the BYE that was heard.
    local function hangs_up(by_caller, ...)
      local call = alice:call(uri)
      assert.same({ "a" }, call.tried)
      take_over(...)
      local who, other = by_caller and alice or a, by_caller and a or alice
      who:bye(call)
      net:run(1)
      assert.equal(1, #other:got "BYE")
      assert.is_nil(other:got("BYE")[1]:header "Route")
      assert.equal(0, standby:metric "tandem_bad_cookies_total")
      return a:got("INVITE")[1], other:got("BYE")[1]
    end

    -- The URIs of the values of Record-Route, without cookies.
    local function recorded(message)
      local list = {}
      for _, value in ipairs(message:list "Record-Route") do
        list[#list + 1] = value:match "^<(.-);lr;t="
      end
      return list
    end

    for _, by_caller in ipairs { true, false } do
      local who = by_caller and "caller" or "server"

      it("is where the BYE goes, and where it comes from: " .. who, function()
        open()
        net:run(5)
        local invite, bye = hangs_up(by_caller, vip)
        assert.same({ "sip:10.0.0.200:5060" }, recorded(invite))
        assert.equal("10.0.0.200:5060", bye.source)
      end)

      it("with one of the other family, and both are recorded: " .. who, function()
        open {
          listen = '"udp:10.0.0.101:5060", "udp:10.0.0.102:5060", "udp:10.0.0.200:5060", '
            .. '"udp:[2001:db8::101]:5060", "udp:[2001:db8::102]:5060", '
            .. '"udp:[2001:db8::200]:5060"',
          servers = '{ name = "a", uri = "sip:[2001:db8::1]" }', a = "2001:db8::1",
          vips = { vip, vip6 },
        }
        net:run(5)
        local invite, bye = hangs_up(by_caller, vip, vip6)
        assert.same({ "sip:[2001:db8::200]:5060", "sip:10.0.0.200:5060" }, recorded(invite))
        assert.equal(by_caller and "[2001:db8::200]:5060" or "10.0.0.200:5060", bye.source)
      end)

      it("is hidden behind the names it is known by: " .. who, function()
        open {
          listen = '{ "udp:10.0.0.200:5060", advertise = "sip.example.net" }, '
            .. '{ "udp:[2001:db8::200]:5060", advertise = "sip6.example.net:5070" }, '
            .. '"udp:10.0.0.101:5060", "udp:[2001:db8::101]:5060", '
            .. '"udp:10.0.0.102:5060", "udp:[2001:db8::102]:5060"',
          servers = '{ name = "a", uri = "sip:[2001:db8::1]" }', a = "2001:db8::1",
          vips = { vip, vip6 },
          hosts = { ["sip.example.net"] = vip, ["sip6.example.net"] = vip6 },
        }
        net:run(5)
        local invite, bye = hangs_up(by_caller, vip, vip6)
        assert.same({ "sip:sip6.example.net:5070", "sip:sip.example.net" }, recorded(invite))
        assert.matches("^SIP/2.0/UDP " .. (by_caller and "sip6.example.net:5070;"
          or "sip.example.net;"), bye:header "Via")
      end)
    end
  end)
end)
