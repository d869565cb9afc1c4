-- Draining the proxy over the control API: it takes no calls, serves those that are up, and
-- says how many are left.
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", { check = false, servers = {
  { name = "a", uri = "sip:127.0.0.1:%{a}" } } })
local lost = sip.pool("lost", { check = false, servers = {
  { name = "b", uri = "sip:127.0.0.1:%{a}" } } })
sip.on("start", function() lost:server "b":mark_down "the spec" end)
sip.route(function(req)
  if not req:relay(pbx, { timeout = 60 }) then return req:reply(500) end
end)
]]

describe("draining", function()
  local tandem, ctl, port, a

  before_each(function()
    port, a = process.ports(2)
    ctl = process.path "ctl.sock"
    tandem = proxy.start {
      source = source, values = { port = port, a = a },
      args = { "--ctl", ctl },
    }
  end)
  after_each(process.clean)

  local function ask(path, method)
    local status, value = http.ask(ctl, path, { method = method })
    return value, status
  end

  local function call(hold)
    return sipp.start("call", { proxy = "127.0.0.1:" .. port, values = { hold = hold } })
  end

  it("refuses new calls, serves those that are up, and ends when it is told to", function()
    assert.same({ draining = false, stopping = false, requests = 0, calls = 0 }, ask "/v1/drain")
    assert.matches("^ready\n", ask "/readyz", 1)
    sipp.server("answer", { port = a, values = { ring = 0 } })
    local up = call(1500)
    assert.truthy(process.eventually(5, function() return ask "/v1/drain".calls == 1 end))
    assert.same({ draining = true, stopping = false, requests = 0, calls = 1 },
      ask("/v1/drain", "POST"))
    local why, status = ask "/readyz"
    assert.equal("draining\n", why)
    assert.equal(503, status)
    local refused = sipp.start("refused", { proxy = "127.0.0.1:" .. port,
      values = { code = 503 } })
    refused:succeed()
    up:succeed()
    assert.truthy(process.eventually(5, function() return ask "/v1/drain".calls == 0 end))

    assert.is_false(ask("/v1/drain", "DELETE").draining)
    assert.matches("^ready\n", ask "/readyz", 1)
    call(0):succeed()
    assert.matches("^ctl [ru]", tandem:wait_logged("drain", { state = "off" }).by)
    assert.equal(1, #tandem:logged("drain", { state = "on" }))
  end)

  it("is the way to the end: /v1/stop is TERM", function()
    sipp.server("ring", { port = a })
    local caller = call(0)
    assert.truthy(process.eventually(5, function() return caller:message "180 INVITE" end))
    assert.same({ draining = true, stopping = true, requests = 1, calls = 0 },
      ask("/v1/stop", "POST"))
    local value, status = ask("/v1/drain", "DELETE")
    assert.equal(409, status)
    assert.equal("the process is stopping", value.error)
    assert.is_true(ask("/v1/stop", "POST").stopping) -- which is no second TERM
    tandem:signal "TERM"
    assert.equal(0, tandem:wait())
    assert.equal(2, #tandem:logged "stop") -- the first, and TERM
  end)

  it("is one thing, a pool that is down another", function()
    assert.matches("^ready\n", ask "/readyz?pool=pbx", 1)
    local why, status = ask "/readyz?pool=nope"
    assert.equal("there is no pool 'nope'\n", why)
    assert.equal(404, status)
    why, status = ask "/readyz?pool=lost"
    assert.equal("pool 'lost' is down\n", why)
    assert.equal(503, status)
    assert.matches("^ready\n", (ask "/readyz"))
  end)
end)
