-- What the line of a desk phone promises: to the backup at once, back by itself.
local sim = require "tandem.sim"

describe("examples/phone-line.lua", function()
  local net, server1, server2, phone

  before_each(function()
    net = sim.new {
      script = "examples/phone-line.lua",
      dns = { ["pbx1.example.com"] = "10.0.0.1", ["pbx2.example.com"] = "10.0.0.2" },
    }
    server1, server2 = net:uas("tcp:10.0.0.1", "server1"), net:uas("10.0.0.2", "server2")
    phone = net:uac("192.0.2.7", "phone")
    net:run(5)
  end)

  after_each(function() net:finish() end)

  it("tries the backup within the call, and stays there", function()
    server1:silence()
    local call = phone:call "sip:bob@example.com"
    assert.same({ "server1", "server2" }, call.tried)
    assert.near(7.5, call.elapsed, 0.1) -- three retransmissions
    assert.same({ "server2" }, phone:call("sip:bob@example.com").tried)
  end)

  it("takes 503 for unavailable, and busy for an answer", function()
    server1:answer("INVITE", 486)
    assert.equal(486, phone:call("sip:bob@example.com").code)
    server1:answer("INVITE", 503)
    assert.equal("server2", phone:call("sip:bob@example.com").server)
  end)

  it("ends a call of the first server on the backup", function()
    server1:share_dialogs(server2)
    local call = phone:call "sip:bob@example.com"
    server1:silence()
    assert.equal(200, phone:bye(call):wait().code)
    assert.equal(1, #server2:got "BYE")
  end)

  it("asks every half hour, and one answer goes back", function()
    server1:refuse()
    assert.equal("server2", phone:call("sip:bob@example.com").server)
    server1:resume()
    server1:answer("REGISTER", 403)
    net:run(2000)
    assert.equal("server2", phone:call("sip:bob@example.com").server)
    server1:answer("REGISTER", 200)
    net:run(2000)
    assert.equal("server1", phone:call("sip:bob@example.com").server)
  end)

  it("tells the phone when neither answers", function()
    server1:silence()
    server2:silence()
    local call = phone:call "sip:bob@example.com"
    assert.equal(500, call.code)
    assert.near(7.5 + 32, call.elapsed, 0.1)
  end)
end)
