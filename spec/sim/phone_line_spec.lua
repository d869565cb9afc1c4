-- The behaviour of a desk phone with two servers, point by point, as its manual has it:
-- what it does when "SIP server 1" is unavailable, and how it comes back.
local sim = require "support.sim"
local guard = require "support.guard"

local uri = "sip:bob@example.com"
local failing = { "silent", "icmp", 500, 503 }

-- Makes a server unavailable in one of these ways.
local function break_down(ua, how)
  if how == "silent" then
    ua:silence()
  elseif how == "icmp" then
    ua:refuse()
  else
    ua:answer("INVITE", how)
    ua:answer("REGISTER", how)
  end
end

sim.for_workers("a phone line", function(workers)
  local net, server1, server2, phone

  before_each(function()
    net = sim.new {
      script = "examples/phone-line.lua", workers = workers,
      dns = { ["pbx1.example.com"] = "10.0.0.1", ["pbx2.example.com"] = "10.0.0.2" },
    }
    server1, server2 = net:uas("tcp:10.0.0.1", "server1"), net:uas("10.0.0.2", "server2")
    for _, server in ipairs { server1, server2 } do
      server:answer("REGISTER", 200)
    end
    phone = net:uac("192.0.2.7", "phone")
    net:run(1)
  end)

  after_each(sim.finish)

  local function register()
    return phone:ask("REGISTER", "sip:example.com")
  end

  local function state()
    return net.pools.line.state
  end

  -- Each request once, whatever was retransmitted.
  local function requests(ua, method)
    local seen, list = {}, {}
    for _, message in ipairs(ua:got(method)) do
      if not seen[message.branch] then
        seen[message.branch] = true
        list[#list + 1] = message
      end
    end
    return list
  end

  describe("uses server 1", function()
    it("for everything, and asks nobody anything", function()
      assert.equal("server1", register().server)
      local call = phone:call(uri)
      assert.equal("server1", call.server)
      assert.equal(200, phone:bye(call):wait().code)
      net:run(7200)
      assert.equal(0, #server2.received)
      assert.equal(1, #requests(server1, "REGISTER"))
    end)
  end)

  describe("goes to server 2", function()
    for _, how in ipairs(failing) do
      it(("within the call when an INVITE meets: %s"):format(how), function()
        break_down(server1, how)
        local call = phone:call(uri)
        assert.same({ "server1", "server2" }, call.tried)
        assert.equal(200, call.code)
        assert.equal("backup", state())
        -- and stays there
        assert.same({ "server2" }, phone:call(uri).tried)
        assert.equal("server2", register().server)
      end)

      it(("within the request when a REGISTER meets: %s"):format(how), function()
        break_down(server1, how)
        local answer = register()
        assert.equal(200, answer.code)
        assert.equal("server2", answer.server)
        assert.equal("backup", state())
      end)
    end

    it("after the time of three retransmissions, 7.5 s; TCP does without them", function()
      server1:silence()
      local call = phone:call(uri)
      assert.near(7.5, call.elapsed, 0.02)
      assert.equal(1, #server1:got "INVITE")
      net:run(1)
      server1:resume()
    end)

    it("after the same time with a REGISTER", function()
      server1:silence()
      local answer = register()
      assert.equal(200, answer.code)
      assert.near(7.5, answer.elapsed, 0.02)
      assert.equal(1, #server1:got "REGISTER")
    end)

    it("not for any other answer: 486, 404, 403, 401 and 603 are the phone's", function()
      for _, code in ipairs { 486, 404, 403, 603, 401 } do
        server1:once("INVITE", code)
        assert.equal(code, phone:call(uri).code)
      end
      assert.equal(0, #server2.received)
      assert.equal("up", state())
    end)

    it("not while a phone rings: silence after 180 is no failure", function()
      server1:ring()
      local call = phone:invite(uri)
      net:run(60)
      assert.same({ "server1" }, call.tried)
      phone:cancel(call)
      net:run(2)
      assert.equal(487, call.code)
      assert.equal("up", state())
    end)
  end)

  describe("ends its calls", function()
    local call

    before_each(function()
      server1:share_dialogs(server2)
      call = phone:call(uri)
      assert.equal("server1", call.server)
    end)

    for _, how in ipairs { "silent", "icmp" } do
      it(("on server 2 when a BYE meets: %s"):format(how), function()
        break_down(server1, how)
        local bye = phone:bye(call):wait()
        assert.equal(200, bye.code)
        assert.equal(1, #requests(server2, "BYE"))
        assert.near(how == "silent" and 7.5 or 0, bye.elapsed, 0.02)
        assert.equal("backup", state())
      end)
    end

    it("on server 2 at once when server 1 is known to be away", function()
      server1:refuse()
      assert.equal("server2", phone:call(uri).server)
      local bye = phone:bye(call):wait()
      assert.equal(200, bye.code)
      assert.equal(0, #server1:got "BYE")
      assert.near(0, bye.elapsed, 0.02)
    end)

    it("or hears after 20 s that it cannot", function()
      server1:silence()
      server2:silence()
      local bye = phone:bye(call):wait()
      assert.equal(500, bye.code)
      assert.near(20, bye.elapsed, 0.05)
    end)
  end)

  describe("when both are unavailable", function()
    it("the last one has 32 s for an INVITE; then the phone hears of it", function()
      server1:silence()
      server2:silence()
      local call = phone:call(uri)
      assert.equal(500, call.code)
      assert.same({ "server1", "server2" }, call.tried)
      assert.near(7.5 + 32, call.elapsed, 0.05)
    end)

    it("the last one has the rest of 20 s for a REGISTER; then the phone hears of it", function()
      server1:silence()
      server2:silence()
      local answer = register()
      assert.equal(500, answer.code)
      assert.near(20, answer.elapsed, 0.05)
    end)

    it("the better answer is passed on: a 503 as 500", function()
      server1:answer("INVITE", 503)
      server2:answer("INVITE", 503)
      local call = phone:call(uri)
      assert.equal(500, call.code)
      assert.same({ "server1", "server2" }, call.tried)
    end)

    it("the next call is tried all the same", function()
      server1:refuse()
      server2:refuse()
      assert.equal(500, phone:call(uri).code)
      server2:resume()
      local call = phone:call(uri)
      assert.equal(200, call.code)
      assert.equal("server2", call.server)
    end)
  end)

  describe("goes back to server 1", function()
    before_each(function()
      server1:refuse()
      assert.equal("server2", phone:call(uri).server)
    end)

    it("after one 200 to a REGISTER, which it sends every 1800 s", function()
      net:run(1600)
      assert.equal("backup", state())
      assert.equal(0, #server1:got "REGISTER")
      server1:resume()
      net:run(400) -- 1800 s, give or take a tenth
      assert.equal(1, #server1:got "REGISTER")
      assert.equal("up", state())
      assert.same({ "server1" }, phone:call(uri).tried)
    end)

    it("as user 1000, with the password; nothing is registered by that", function()
      server1:resume()
      guard.set(server1, "REGISTER", { user = "1000", password = "the password of user 1000" })
      net:run(2000)
      local first, second = table.unpack(server1:got "REGISTER")
      assert.equal("<sip:1000@pbx1.example.com>", first:header "To")
      assert.is_nil(second:header "Contact")
      assert.equal("up", state())
    end)

    it("not after a refusal; and asks again, and again", function()
      server1:resume()
      server1:answer("REGISTER", 403)
      net:run(3 * 2000)
      assert.equal("backup", state())
      assert.is_true(#server1:got "REGISTER" >= 3)
      server1:answer("REGISTER", 200)
      net:run(2000)
      assert.equal("up", state())
    end)

    it("not after silence for 32 s; and asks again", function()
      server1:resume()
      server1:silence()
      net:run(2 * 2000 + 40)
      assert.equal("backup", state())
      assert.is_true(#requests(server1, "REGISTER") >= 2)
      server1:resume()
      net:run(2000)
      assert.equal("up", state())
    end)

    it("and asks no more; after the next failure it does again", function()
      server1:resume()
      net:run(2000)
      assert.equal("up", state())
      local n = #server1:got "REGISTER"
      net:run(8000)
      assert.equal(n, #server1:got "REGISTER")
      server1:refuse()
      phone:call(uri)
      assert.equal("backup", state())
      server1:resume()
      net:run(2000)
      assert.equal("up", state())
      assert.equal(n + 1, #server1:got "REGISTER")
    end)

    it("at once when the backup fails as well", function()
      server1:resume()
      server2:refuse()
      assert.equal(500, phone:call(uri).code)
      net:run(1)
      assert.equal("up", state())
      assert.equal("server1", phone:call(uri).server)
    end)

    it("and does not ask it for every call that fails", function()
      server1:silence()
      server2:refuse()
      for _ = 1, 100 do
        phone:call(uri)
        net:run(1)
      end
      local n = #requests(server1, "REGISTER")
      assert.is_true(n >= 3 and n <= 4, n)
      server1:resume()
      phone:call(uri)
      net:run(32)
      assert.equal("server1", phone:call(uri).server)
    end)

    it("and never moves a call that is established", function()
      local call = phone:call(uri)
      assert.equal("server2", call.server)
      server1:resume()
      net:run(2000)
      assert.equal("up", state())
      assert.equal(200, phone:reinvite(call):wait().code)
      assert.equal(200, phone:bye(call):wait().code)
      assert.equal(1, #server2:got "BYE")
      assert.equal(0, #server1:got "BYE")
    end)
  end)

  it("has a backup again that a call took out while server 1 served", function()
    server1:refuse()
    local call = phone:call(uri)
    assert.equal("server2", call.server)
    server1:resume()
    net:run(2000)
    server2:refuse()
    phone:bye(call):wait()
    assert.equal("down", net.pools.line.server2.status)
    server2:resume()
    net:run(2000)
    server1:refuse()
    assert.equal("server2", phone:call(uri).server)
  end)

  it("comes back in time, however often the script is loaded again", function()
    server1:refuse()
    phone:call(uri)
    server1:resume()
    for _ = 1, 5 do
      net:run(420) -- 2100 s in all
      assert(net:reload())
    end
    assert.equal("up", state())
    assert.equal(1, #server1:got "REGISTER")
  end)

  it("survives a reload on the backup, and still comes back", function()
    server1:refuse()
    phone:call(uri)
    assert(net:reload())
    assert.equal("backup", state())
    server1:resume()
    net:run(2100)
    assert.equal("up", state())
  end)
end)
