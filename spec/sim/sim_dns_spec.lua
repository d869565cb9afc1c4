-- DNS of the simulated network: what a proxy asks, and gets.
local sim = require "support.sim"

-- Answers with what a name is found at, or the error.
local script = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "udp:[::]:5060", "tcp:0.0.0.0:5060" }
sip.route(function(req)
  local list, err = sip.resolve(req:header "X-Uri")
  local found = {}
  for _, place in ipairs(list or {}) do
    found[#found + 1] = ("%d %s %s"):format(place.rank, place.transport, place.address)
  end
  table.sort(found)
  return req:reply(200, err or table.concat(found, ", "))
end)
]]

sim.for_workers("DNS of the simulator", function(workers)
  after_each(sim.finish)

  local net, alice

  before_each(function()
    net = sim.new {
      workers = workers, source = script, addr = { "10.0.0.100", "2001:db8::100" },
      dns = {
        ["pbx.example.com"] = { "10.0.0.1", "2001:db8::1", ttl = 10 },
        ["www.example.com"] = { cname = "pbx.example.com", ttl = 5 },
        ["_sip._udp.trunk.example"] = {
          { priority = 20, port = 5080, target = "b.trunk.example" },
          { priority = 10, weight = 5, target = "a.trunk.example" },
        },
        ["_sip._tcp.trunk.example"] = { target = "." },
        ["a.trunk.example"] = "10.0.0.11",
        ["b.trunk.example"] = "10.0.0.12",
        ["carrier.example"] = {
          { order = 1, preference = 1, service = "SIP+D2T",
            replacement = "_sip._tcp.east.carrier.example" },
        },
        ["_sip._tcp.east.carrier.example"] = { target = "a.trunk.example", port = 5090 },
        ["short.example"] = { negative = 3 },
      },
    }
    alice = net:uac "192.0.2.7"
  end)

  local function resolve(uri)
    local made = alice:ask("MESSAGE", "sip:x@proxy", { headers = { ["X-Uri"] = "sip:" .. uri } })
    return made.reason, made
  end

  local function types(name)
    local list = {}
    for _, query in ipairs(net:queries()) do
      if query.name == name then
        list[#list + 1] = query.type
      end
    end
    table.sort(list)
    return table.concat(list, " ")
  end

  it("answers after a round trip, and proxies keep it", function()
    local found, made = resolve "pbx.example.com:5062"
    assert.equal("0 udp 10.0.0.1:5062, 0 udp [2001:db8::1]:5062", found)
    assert.equal(0.004, made.elapsed)
    assert.equal("A AAAA", types "pbx.example.com")
    assert.equal(0.001, net:queries()[1].time)
    assert.equal(1, net:queries()[1].node)
    found, made = resolve "pbx.example.com:5062"
    assert.matches("10.0.0.1:5062", found)
    if workers == 1 then
      assert.equal(0.002, made.elapsed)
      assert.equal(2, #net:queries())
    end
  end)

  it("has aliases, services and pointers to services", function()
    assert.equal("0 udp 10.0.0.1:5062, 0 udp [2001:db8::1]:5062", (resolve "www.example.com:5062"))
    assert.equal("0 udp 10.0.0.11:5060, 1 udp 10.0.0.12:5080", (resolve "trunk.example"))
    assert.equal("0 tcp 10.0.0.11:5090", (resolve "carrier.example"))
    assert.equal("NAPTR", types "carrier.example")
    assert.equal("SRV", types "_sip._tcp.east.carrier.example")
  end)

  it("changes, which caches see when the TTL is over", function()
    resolve "pbx.example.com:5062"
    net:dns("pbx.example.com", { "10.0.0.9" })
    net:run(20)
    assert.equal("0 udp 10.0.0.9:5062", (resolve "pbx.example.com:5062"))
    net:dns("pbx.example.com", nil)
    net:run(100)
    assert.equal("dns_none", (resolve "pbx.example.com:5062"))
  end)

  it("says for how long there is nothing", function()
    assert.equal("dns_none", (resolve "short.example:5060"))
    net:dns("short.example", "10.0.0.5")
    net:run(4)
    assert.equal("0 udp 10.0.0.5:5060", (resolve "short.example:5060"))
  end)

  it("may be slow, silent, gone, broken or nonsense", function()
    net:resolver("slow", 1)
    local found, made = resolve "pbx.example.com:5062"
    assert.matches("10.0.0.1:5062", found)
    assert.equal(1.002, made.elapsed)
    local tried = 0
    for _, mode in ipairs { "silent", "refuse", "servfail", "garbage" } do
      net:resolver(mode)
      tried = tried + 1
      found, made = resolve(("a%d.trunk.example:5060"):format(tried))
      assert.equal("dns_timeout", found, mode)
      assert.equal(mode == "silent", made.elapsed > 1, mode)
    end
    net:resolver "ok"
    assert.equal("0 udp 10.0.0.11:5060", (resolve "a.trunk.example:5060"))
    net:dns("mute.example", { fail = "silent" })
    assert.equal("dns_timeout", (resolve "mute.example:5060"))
    assert.equal("0 udp 10.0.0.12:5060", (resolve "b.trunk.example:5060"))
  end)

  it("has nothing to tell a process that is gone", function()
    net:resolver("slow", 1)
    local made = alice:request("MESSAGE", "sip:x@proxy", {
      headers = { ["X-Uri"] = "sip:pbx.example.com:5062" },
    })
    net:run(0.2)
    net.nodes[1]:crash()
    net:run(0.2)
    net.nodes[1]:start()
    assert.matches("10.0.0.1:5062", made:wait().reason)
    net:run(3)
  end)

  it("tells endpoints the addresses of names", function()
    net:uas("10.0.0.1", "pbx")
    local made = net:uac("192.0.2.8", { proxy = "10.0.0.1" })
    assert.equal("pbx", made:call("sip:bob@www.example.com").server)
    local other = sim.new { dns = { ["a.example"] = { cname = "b.example" },
      ["b.example"] = "10.0.0.3" } }
    other:uas("10.0.0.3", "b")
    assert.equal("b", other:uac("192.0.2.8"):call("sip:x@a.example").server)
  end)

  it("refuses modes and records that do not exist", function()
    assert.has_error(function()
      net:resolver "tired"
    end, "a resolver cannot be 'tired'")
    assert.has_error(function()
      net:resolver "slow"
    end, "a slow resolver needs seconds")
    assert.error_matches(function()
      sim.new { dns = { ["a.example"] = {} , ["b.example"] = { { prio = 1 } } } }
    end, "a record of b.example")
  end)
end)
