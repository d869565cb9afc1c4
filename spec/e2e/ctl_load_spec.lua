-- A server is taken out in the middle of the day: `tandem ctl server drain --wait` returns
-- when its last call has ended, and no call fails for it.
local ctl_of = require "support.ctl"
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local calls, rate, hold = 600, 120, 700

describe("draining a server under load", function()
  after_each(process.clean)

  it("ends with its last call, and costs none", function()
    local port, a, b = process.ports(3)
    local sock = process.path "ctl.sock"
    local ctl = ctl_of.new(sock)
    proxy.start {
      binary = "build/tandem", level = "info", source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", { check = false, policy = "round_robin", servers = {
  { name = "a", uri = "sip:127.0.0.1:%{a}" }, { name = "b", uri = "sip:127.0.0.1:%{b}" } } })
sip.route(function(req) return req:relay(pbx) end)
]], values = { port = port, a = a, b = b }, args = { "--ctl", sock },
    }
    for name, at in pairs { a = a, b = b } do
      sipp.server("answer", {
        name = name, port = at, quiet = true, limit = 60, values = { ring = 0 },
      })
    end
    local load = sipp.start("call", {
      proxy = "127.0.0.1:" .. port, calls = calls, rate = rate, quiet = true, limit = 50,
      values = { hold = hold }, args = { "-l", "2000" },
    })
    local function server(name)
      return select(2, http.ask(sock, "/v1/pools/pbx/servers/" .. name))
    end
    assert.truthy(process.eventually(20, function() return server "a".calls > 20 end))

    local code, output, errors = ctl "server drain pbx/a --reason disks --wait=40s"
    assert.same({ 0, "" }, { code, errors })
    local up = tonumber(output:match "; (%d+) calls")
    assert(up and up > 5, output)
    assert.matches("\npbx/a: no call is left\n$", output)
    local after = server "a"
    assert.same({ 0, 0, 0 }, { after.calls, after.setup, after.inflight })
    assert.is_false(load:ended()) -- the load went on beside it

    load:succeed()
    assert.equal(calls, tonumber(load:statistics()["SuccessfulCall(C)"]))
    assert.same(after.attempts, server "a".attempts)
    assert(server "b".attempts.ok > after.attempts.ok)
    assert.equal(0, (ctl "server ready pbx/a"))
  end)
end)
