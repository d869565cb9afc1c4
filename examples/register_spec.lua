-- A phone behind a NAT registers, is called, calls, and nobody but its servers gets to it.
local sim = require "tandem.sim"

describe("examples/register.lua", function()
  local net, a, b, phone, binding

  before_each(function()
    net = sim.new { script = "examples/register.lua" }
    a, b = net:uas("10.0.0.1", "a"), net:uas("10.0.0.2", "b")
    -- what the world sees of the phone, and what the phone believes
    phone = net:uac("198.51.100.9:41002", { name = "phone", private = "192.168.1.20" })
    net:run(5)
    for _, server in ipairs { a, b } do   -- they keep the binding in one place
      server:on("REGISTER", function(request, reply)
        binding = { contact = request:list("Contact")[1]:match "<(.-)>",
          path = request:list "Path" }
        reply(200)
      end)
    end
  end)

  after_each(function() net:finish() end)

  local function call_phone(server)
    local call = server:invite(binding.contact, { route = binding.path })
    call:wait()
    net:run(1)
    return call
  end

  it("brings a call from either server to the phone, and both can hang up", function()
    assert.equal(200, phone:ask("REGISTER", "sip:example.com").code)
    local first, second = call_phone(a), call_phone(b)
    assert.equal("phone", first.server)
    assert.equal("phone", second.server)
    assert.equal(200, a:bye(first):wait().code)
    assert.equal(200, phone:bye(second):wait().code)
  end)

  it("carries what the server sends in a call of the phone", function()
    local call = phone:call "sip:bob@example.com"
    assert.equal("a", call.server)
    net:run(1)
    assert.equal(200, a:reinvite(call):wait().code)
    net:run(1)
    assert.equal(200, a:bye(call):wait().code)
    assert.equal(1, #phone:got "BYE")
  end)

  it("registers at the backup while the primary cannot", function()
    a:once("REGISTER", 500)
    local asked = phone:ask("REGISTER", "sip:example.com")
    assert.equal(200, asked.code)
    assert.same({ "a", "b" }, asked.tried)
    assert.equal("phone", call_phone(b).server)
  end)

  it("says 430 when nobody is at the phone's address any more", function()
    phone:ask("REGISTER", "sip:example.com")
    phone:refuse()
    assert.equal(430, call_phone(a).code)
  end)

  it("lets nobody else use the way to the phone", function()
    phone:ask("REGISTER", "sip:example.com")
    local stranger = net:uac "203.0.113.66"
    local call = stranger:invite(binding.contact, { route = binding.path })
    assert.equal(403, call:wait().code)
    assert.same({}, phone:got "INVITE")
  end)
end)
