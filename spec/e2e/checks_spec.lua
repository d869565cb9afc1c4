-- Checks of the binary against somebody else's idea of SIP: a registrar that verifies
-- our digest, and a server that is called and hung up on.
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:127.0.0.1:%{a}" } },
  check = { expect = { 200 }, fall = 1, rise = 1, interval = 4, timeout = 2, %{check} },
})
sip.route(function(req) return req:relay(pbx) end)
]]

describe("a check of the binary", function()
  local port, a, tandem

  before_each(function()
    port, a = process.ports(2)
  end)
  after_each(process.clean)

  -- Starts the proxy; gives the first verdict on the server.
  local function verdict(check)
    tandem = proxy.start { source = source, values = { port = port, a = a, check = check } }
    local line
    process.eventually(10, function()
      for _, event in ipairs(tandem:logged "server.health") do
        line = event.from ~= "none" and event or line
      end
      return line
    end)
    return line and ("%s %s %s"):format(line.to, line.reason, line.who)
  end

  local register = 'method = "REGISTER", user = "1000", password = "%s"'

  it("registers with a password that sipp verifies", function()
    local server = sipp.server("guarded", {
      port = a, values = { algorithm = "MD5", password = "s3cret word" },
    })
    assert.equal("up 200 check", verdict(register:format "s3cret word"))
    assert.same({ "REGISTER", "REGISTER" }, { table.unpack(server:got(), 1, 2) })
    local first, second = server:message "REGISTER", server:message("REGISTER", 2)
    assert.equal(first:header "Call%-ID", second:header "Call%-ID")
    assert.is_nil(tandem:output():find("s3cret", 1, true))
  end)

  it("with a wrong one is refused", function()
    sipp.server("guarded", { port = a, values = { algorithm = "MD5", password = "another" } })
    assert.equal("down 403 check", verdict(register:format "s3cret word"))
  end)

  it("calls, acknowledges and hangs up", function()
    local server = sipp.server("answer", { port = a, values = { ring = 50 } })
    assert.equal("up 200 check", verdict 'method = "INVITE"')
    process.eventually(5, function()
      return server:count "BYE" > 0
    end)
    assert.same({ "INVITE", "ACK", "BYE" }, { table.unpack(server:got(), 1, 3) })
  end)
end)
