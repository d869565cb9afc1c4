-- How the program ends on TERM: calls in set-up come to their end first, and those that
-- are up are the next process's.
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local relay = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.settings { key_file = "%{key}", stop_timeout = %{timeout} }
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:127.0.0.1:%{a}", tier = 1 },
    { name = "b", uri = "sip:127.0.0.1:%{b}", tier = 2 },
  },
  check = false, passive = { fall = 1000 },
})
sip.on("stop", function() sip.log.info "stops" end)
sip.route(function(req)
  if not req:relay(pbx, { timeout = 1 }) then return req:reply(500) end
end)
]]

local options = table.concat({
  "OPTIONS sip:127.0.0.1:%d SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bK%s",
  "Max-Forwards: 70", "From: <sip:x@example.net>;tag=1", "To: <sip:127.0.0.1>", "Call-ID: %s",
  "CSeq: 1 OPTIONS", "Content-Length: 0", "", "",
}, "\r\n")

describe("TERM", function()
  after_each(process.clean)

  local port, a, b, key

  before_each(function()
    port, a, b = process.ports(3)
    key = process.write("key", ("0123456789abcdef"):rep(2))
    os.execute("chmod 600 " .. key)
  end)

  local function start(timeout, name, binary)
    return proxy.start {
      source = relay, name = name, binary = binary,
      values = { port = port, a = a, b = b, key = key, timeout = timeout or 20 },
    }
  end

  local function call(more)
    local what = { proxy = "127.0.0.1:" .. port, values = { hold = 0 } }
    for k, v in pairs(more or {}) do
      what[k] = v
    end
    return sipp.start("call", what)
  end

  it("fails none of 200 calls in set-up, which have to go on to the backup, too", function()
    local calls = 200
    local first = start(20, "proxy1", "build/tandem")
    sipp.server("silent", { name = "a", port = a, quiet = true })
    sipp.server("answer", { name = "b", port = b, quiet = true, values = { ring = 1200 } })
    local load = call { calls = calls, rate = 400, quiet = true, values = { hold = 4000 } }
    assert.truthy(process.eventually(5, function()
      return tonumber(load:statistics()["TotalCallCreated"]) == calls
    end))
    first:signal "TERM"
    first:wait_logged("drain", { state = "on" })
    local answer = process.ask(port, options:format(port, "drain", "drain"), 0.3)
    assert.truthy(answer:find("^SIP/2.0 503 "), answer)
    assert.truthy(answer:find("Retry-After: 5\r\n", 1, true), answer)
    assert.equal(0, first:wait())
    assert.equal(0, first:logged("stopped")[1].requests)
    assert.equal(calls, first:logged("stopped")[1].calls)
    assert.equal(1, #first:logged("script", { message = "stops" }))
    start(20, "proxy2", "build/tandem")
    load:succeed()
    local s = load:statistics()
    assert.equal(calls, tonumber(s["SuccessfulCall(C)"]))
    assert.equal(0, tonumber(s["FailedCall(C)"]))
  end)

  it("waits no longer than stop_timeout, and answers what rings then", function()
    local tandem = start(1)
    sipp.server("ring", { port = a })
    local caller = call()
    assert.truthy(process.eventually(5, function() return caller:message "180 INVITE" end))
    local before = process.now()
    tandem:signal "TERM"
    assert.equal(0, tandem:wait())
    assert(process.now() - before >= 1)
    assert.truthy(process.eventually(3, function() return caller:message "503 INVITE" end))
    assert.equal(1, tandem:logged("stopped")[1].requests)
    assert.equal(1, #tandem:logged("script", { message = "stops" }))
  end)

  for _, second in ipairs { "TERM", "INT" } do
    it("is at once when " .. second .. " follows", function()
      local tandem = start(50)
      sipp.server("ring", { port = a })
      local caller = call()
      assert.truthy(process.eventually(5, function() return caller:message "180 INVITE" end))
      tandem:signal "TERM"
      tandem:wait_logged("stop", { by = "TERM", wait = 50 })
      tandem:signal(second)
      tandem:wait_logged("stop", { by = second, wait = 0 })
      assert.truthy(process.eventually(3, function() return tandem:ended() end))
      assert.equal(0, tandem:wait())
      assert.truthy(process.eventually(3, function() return caller:message "503 INVITE" end))
      assert.equal(1, #tandem:logged("script", { message = "stops" }))
    end)
  end

  it("is heard while a script loads", function()
    local tandem = start(50)
    tandem:signal "HUP"
    tandem:signal "TERM"
    assert.equal(0, tandem:wait())
  end)
end)
