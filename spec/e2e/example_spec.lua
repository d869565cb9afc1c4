-- examples/failover.lua as it is, on its own ports.
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

describe("examples/failover.lua", function()
  local a, b = 5081, 5082

  before_each(function()
    for _, port in ipairs { 5060, a, b } do
      assert(process.eventually(20, function() return not process.bound(port) end),
        "port " .. port .. " is in use: by `make run`?")
    end
  end)
  after_each(process.clean)

  local function server(name, port)
    return sipp.server("answer", { name = name, port = port, values = { name = name, ring = 0 } })
  end

  local function call(name)
    local caller = sipp.call("call", {
      name = name, proxy = "127.0.0.1:5060", values = { hold = 50 },
    })
    local contact = caller:message "200 INVITE":header "Contact"
    return contact:match "sip:(%w+)@", caller:between("INVITE", "200 INVITE")
  end

  it("survives the death of the primary, and does not hurry back", function()
    local primary = server("a", a)
    server("b", b)
    local tandem = proxy.start { script = "examples/failover.lua" }
    assert.equal("a", (call "before"))

    primary:kill()
    local who, taken = call "first"
    io.write(("\nthe first call after the primary's death was answered in %.1f ms\n")
      :format(taken * 1000))
    assert.equal("b", who)
    assert(taken < 0.5, taken)

    tandem:wait_logged("server.health", { server = "a", to = "down" }, 10)
    assert.equal("b", (call "down"))

    server("a2", a)
    tandem:wait_logged("server.health", { server = "a", from = "rising", to = "up" }, 10)
    assert.equal("b", (call "held"))
  end)
end)
