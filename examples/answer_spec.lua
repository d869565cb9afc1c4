-- examples/answer.lua: what a proxy is tried with has to answer as a server does.
local sim = require "tandem.sim"

describe("examples/answer.lua", function()
  local net, alice

  before_each(function()
    net = sim.new { script = "examples/answer.lua", seed = 1 }
    alice = net:uac "127.0.0.1:5062"
  end)

  after_each(function() net:finish() end)

  it("answers a check", function()
    assert.equal(200, alice:ask("OPTIONS", "sip:127.0.0.1:5080").code)
    assert.equal(200, alice:ask("OPTIONS", "sip:answer@127.0.0.1:5080").code)
  end)

  it("answers a call, and what comes within it", function()
    local call = alice:call "sip:bob@127.0.0.1:5080"
    assert.equal(200, call.code)
    assert.equal("application/sdp", call.headers["Content-Type"])
    assert.matches("a=inactive", call.response.body)
    net:run(5)
    assert.equal(1, #alice:got(200)) -- the ACK came
    local again = alice:reinvite(call):wait()
    assert.equal(200, again.code)
    assert.matches("a=inactive", again.response.body)
    assert.equal(200, alice:in_dialog(call, "INFO"):wait().code)
    assert.equal(200, alice:bye(call):wait().code)
  end)

  it("answers a registration with its bindings", function()
    local register = alice:ask("REGISTER", "sip:127.0.0.1:5080", {
      headers = { { "Contact", "<sip:alice@192.0.2.7>" }, { "Expires", "60" } },
    })
    assert.equal(200, register.code)
    assert.equal("<sip:alice@192.0.2.7>", register.headers.Contact)
    assert.equal("60", register.headers.Expires)
  end)

  it("takes nothing else", function()
    local asked = alice:ask("SUBSCRIBE", "sip:bob@127.0.0.1:5080")
    assert.equal(405, asked.code)
    assert.matches("REGISTER", asked.headers.Allow)
  end)
end)
