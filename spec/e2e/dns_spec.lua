-- A trunk that a real DNS server describes, between real callers and gateways: who gets
-- the calls while records, gateways and the server change.
local dns_server = require "support.dns_server"
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}", "tcp:127.0.0.1:%{port}", "udp:[::1]:%{port}" }
sip.settings { dns = { servers = { "127.0.0.1:%{dns}" } } }
local trunk = sip.pool("trunk", {
  discover = { "sip:trunk.example" }, check = false, passive = false,
})
sip.route(function(req)
  if not req:relay(trunk, { attempts = 3, timeout = 1 }) then return req:reply(500) end
end)
]]

-- Seconds: no timer was involved, whatever else the machine does.
local at_once = 0.4

describe("a trunk in DNS", function()
  local port, dns_port, a, b, c, dns, tandem

  local function srv(name, at, priority, weight)
    return { "srv", "_sip._udp.trunk.example", name .. ".trunk.example", at, priority, weight }
  end

  local function zone(...)
    return {
      { "naptr", "trunk.example", 10, 10, "SIP+D2U", "_sip._udp.trunk.example" },
      { "host", "a.trunk.example", "127.0.0.1" }, { "host", "b.trunk.example", "127.0.0.1" },
      { "host", "c.trunk.example", "127.0.0.1" }, { "host", "six.trunk.example", "::1" }, ...,
    }
  end

  before_each(function()
    port, dns_port, a, b, c = process.ports(5)
  end)
  after_each(process.clean)

  local function start(records)
    dns = dns_server.start { port = dns_port, records = records }
    tandem = proxy.start { source = source, values = { port = port, dns = dns_port } }
    tandem:wait_logged("pool.discovered", { pool = "trunk" })
  end

  local function gateway(name, at, options)
    options = options or {}
    options.name, options.port, options.values = name, at, options.values or { ring = 0 }
    return sipp.server(options.scenario or "answer", options)
  end

  local function call(name, options)
    options = options or {}
    options.name, options.proxy, options.values = name, "127.0.0.1:" .. port, { hold = 0 }
    return sipp.call("call", options)
  end

  -- Who was tried, of the last INVITE: "trunk/a.trunk.example:icmp_port:0.00,...".
  local function tried()
    local lines = process.eventually(3, function()
      local found = tandem:logged("request", { method = "INVITE" })
      return #found > 0 and found
    end)
    return lines[#lines].tried
  end

  it("spreads its calls by weight, within the first priority", function()
    start(zone(srv("a", a, 1, 75), srv("b", b, 1, 25), srv("c", c, 2, 0)))
    local first, second = gateway("a", a), gateway("b", b)
    local third = gateway("c", c)
    call("caller", { calls = 120, rate = 60 })
    local got, rest = first:count "INVITE", second:count "INVITE"
    io.write(("\nof 120 calls at 75 : 25 went %d : %d\n"):format(got, rest))
    assert.equal(120, got + rest)
    assert.near(90, got, 18)
    assert.equal(0, third:count "INVITE")
  end)

  it("goes to the next priority at once when the ports of the first are closed", function()
    start(zone(srv("a", a, 1, 1), srv("b", b, 1, 1), srv("c", c, 2, 0)))
    gateway("c", c)
    local taken = call("caller"):between("INVITE", "200 INVITE")
    io.write(("\ntwo closed ports: answered in %.1f ms\n"):format(taken * 1000))
    assert.matches("icmp_port.*icmp_port.*c%.trunk%.example:200", tried())
    assert(taken < at_once, taken)
  end)

  it("goes there after one attempt's timeout when the first is silent", function()
    start(zone(srv("a", a, 1, 1), srv("c", c, 2, 0)))
    local silent = gateway("a", a, { scenario = "silent" })
    gateway("c", c)
    local taken = call("caller"):between("INVITE", "200 INVITE")
    io.write(("\na silent target: answered in %.3f s, with a timeout of 1 s\n"):format(taken))
    assert(silent:count "INVITE" >= 2)
    assert.matches("a%.trunk%.example:silent", tried())
    assert(taken >= 1 and taken < 1 + at_once, taken)
  end)

  it("takes a new target when the TTL is over, and drains the old one", function()
    start(zone(srv("a", a, 1, 1)))
    local first, second = gateway("a", a), gateway("b", b)
    call "before"
    dns:change(zone(srv("b", b, 1, 1)))
    tandem:wait_logged("pool.discovered", {
      added = "b.trunk.example", left = "a.trunk.example",
    }, 5)
    for i = 1, 3 do
      call("after" .. i)
    end
    assert.same({ 1, 3 }, { first:count "INVITE", second:count "INVITE" })
  end)

  it("goes on when the DNS server is dead", function()
    start(zone(srv("a", a, 1, 1)))
    local first = gateway("a", a)
    dns:kill()
    tandem:wait_logged("pool.undiscovered", { known = 1 }, 8)
    for i = 1, 3 do
      assert(call("call" .. i):between("INVITE", "200 INVITE") < at_once)
    end
    assert.equal(3, first:count "INVITE")
  end)

  it("waits for a DNS server that comes later", function()
    tandem = proxy.start { source = source, values = { port = port, dns = dns_port } }
    tandem:wait_logged("pool.undiscovered", { known = 0 })
    sipp.call("refused", {
      proxy = "127.0.0.1:" .. port, values = { code = 500 }, name = "nobody",
    })
    dns = dns_server.start { port = dns_port, records = zone(srv("a", a, 1, 1)) }
    gateway("a", a)
    tandem:wait_logged("pool.discovered", { added = "a.trunk.example" }, 10)
    call "then"
  end)

  it("has gateways with IPv6 addresses", function()
    start(zone(srv("six", a, 1, 1)))
    local six = gateway("six", a, { host = "::1" })
    call "caller"
    assert.equal(1, six:count "INVITE")
    assert.matches("Via: SIP/2.0/UDP %[::1%]:" .. port, six:message("INVITE").text)
  end)

  it("is reached by the transport that NAPTR prefers", function()
    local records = zone({ "naptr", "trunk.example", 5, 1, "SIP+D2T", "_sip._tcp.trunk.example" },
      { "srv", "_sip._tcp.trunk.example", "b.trunk.example", b, 1, 1 }, srv("a", a, 1, 1))
    start(records)
    gateway("a", a)
    local tcp = gateway("b", b, {
      protocol = "tcp", args = { "-t", "t1" },
      replace = { ["[local_port]"] = "[local_port];transport=tcp" },
    })
    call "caller"
    assert.equal(1, tcp:count "INVITE")
    assert.matches("Via: SIP/2.0/TCP", tcp:message("INVITE").text)
    assert(dns:asked "NAPTR" > 0)
  end)
end)
