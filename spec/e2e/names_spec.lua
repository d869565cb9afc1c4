-- A server that is known by name, with a real DNS server, a real kernel, and callers and
-- servers by sipp.
local dns_server = require "support.dns_server"
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local at_once = 0.4 -- seconds: no timer was involved, whatever else the machine does

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.settings { dns = { servers = { "127.0.0.1:%{dns}" }, ttl_min = 1 } }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:pbx.example:%{server}" } }, check = false,
})
sip.route(function(req) return req:relay(pbx) end)
]]

describe("a server with a name", function()
  local port, dns_port, server_port, dns, tandem

  local function records(...)
    local list = {}
    for i, host in ipairs { ... } do
      list[i] = { "host", "pbx.example", host }
    end
    return list
  end

  local function open(...)
    port, dns_port, server_port = process.ports(3)
    dns = dns_server.start { port = dns_port, records = records(...) }
    tandem = proxy.start { source = source, values = {
      port = port, dns = dns_port, server = server_port,
    } }
    tandem:wait_logged "server.resolved"
  end

  after_each(process.clean)

  local function server(host, name)
    return sipp.server("answer", {
      name = name, host = host, port = server_port, values = { ring = 0 },
    })
  end

  local function call(name)
    local caller = sipp.call("call", {
      name = name, proxy = "127.0.0.1:" .. port, values = { hold = 0 },
    })
    return caller:between("INVITE", "200 INVITE")
  end

  local function addresses(host)
    return ("%s:%d;transport=udp"):format(host, server_port)
  end

  it("is called at its other address when the port of one is closed", function()
    open("127.0.0.21", "127.0.0.22")
    local two = server("127.0.0.22", "two")
    local slowest = 0
    for i = 1, 8 do -- half of them begin at the one that is closed
      slowest = math.max(slowest, call("call" .. i))
    end
    io.write(("\none of two addresses closed: the slowest of 8 calls was answered in %.1f ms\n")
      :format(slowest * 1000))
    assert(slowest < at_once, slowest)
    assert.equal(8, two:count "INVITE")
    local moved = 0
    for _, line in ipairs(tandem:logged("request", { method = "INVITE" })) do
      moved = moved + (line.tried:find("icmp_port", 1, true) and 1 or 0)
    end
    assert(moved > 0, "none began at the closed address")
  end)

  it("moves when DNS says so; and stays when DNS is gone, also over a reload", function()
    open "127.0.0.21"
    local one, two = server("127.0.0.21", "one"), server("127.0.0.22", "two")
    call "first"
    dns:change(records "127.0.0.22")
    tandem:wait_logged("server.resolved", { addresses = addresses "127.0.0.22" }, 10)
    call "second"
    assert.same({ 1, 1 }, { one:count "INVITE", two:count "INVITE" })

    dns:kill()
    tandem:wait_logged("server.unresolved", { known = 1 }, 10)
    call "third"
    tandem:signal "HUP"
    tandem:wait_logged "reload"
    call "fourth"
    assert.same({ 1, 3 }, { one:count "INVITE", two:count "INVITE" })
  end)
end)
