-- How the program ends: with a wrong script, and in the middle of a call.
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local relay = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:127.0.0.1:%{server}" } }, check = false,
})
sip.route(function(req)
  if not req:relay(pbx) then return req:reply(500) end
end)
]]

describe("the program", function()
  after_each(process.clean)

  -- Runs until it ends by itself.
  local function fails(source, values)
    local tandem = proxy.launch { source = source, values = values, limit = 10 }
    tandem.expected = tandem:wait()
    return tandem.expected, tandem:output()
  end

  it("ends with 2 for a wrong option, and says where and what was meant", function()
    local status, output = fails((relay:gsub("servers =", "servres =")), { port = 1, server = 1 })
    assert.equal(2, status)
    assert.truthy(output:find "proxy%.lua:%d+: .*servres", output)
    assert.truthy(output:find("servers", 1, true), output)
  end)

  it("ends with 2 for a syntax error, and says where", function()
    local status, output = fails("local sip = require 'tandem'\nsip.listen {\n")
    assert.equal(2, status)
    assert.truthy(output:find "proxy%.lua:%d+: ", output)
  end)

  it("ends with 2 for an error while loading, and says where", function()
    local status, output = fails("local sip = require 'tandem'\nlocal x = nil\nreturn x.y\n")
    assert.equal(2, status)
    assert.truthy(output:find("proxy.lua:3: ", 1, true), output)
  end)

  it("ends with 0, soon, on INT in the middle of a call", function()
    local port, a = process.ports(2)
    local tandem = proxy.start { source = relay, values = { port = port, server = a } }
    sipp.server("ring", { port = a })
    local caller = sipp.start("call", { proxy = "127.0.0.1:" .. port, values = { hold = 0 } })
    assert.truthy(process.eventually(5, function() return caller:message "180 INVITE" end))
    local before = process.now()
    tandem:signal "INT"
    assert.equal(0, tandem:wait())
    local taken = process.now() - before
    assert(taken < 1, taken)
    assert.equal("INT", tandem:wait_logged "stop".by)
    assert.equal(1, tandem:wait_logged "stopped".requests)
  end)
end)
