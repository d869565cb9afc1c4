-- REGISTER and INVITE have to agree on a server without ever having met.
local sim = require "tandem.sim"

describe("examples/aor.lua", function()
  local net, pbx, alice, bob

  before_each(function()
    net, pbx = sim.new { script = "examples/aor.lua" }, {}
    for i = 1, 3 do pbx["pbx" .. i] = net:uas("10.0.0." .. i, "pbx" .. i) end
    alice, bob = net:uac("192.0.2.7", "alice"), net:uac("192.0.2.8", "bob")
    net:run(5)
  end)

  after_each(function() net:finish() end)

  -- Which server holds the registration of this phone now.
  local function register(phone, user)
    return phone:ask("REGISTER", "sip:example.com", {
      from = ("sip:%s@example.com"):format(user), to = ("sip:%s@example.com"):format(user),
    }).server
  end

  it("brings a call to where the called phone has registered", function()
    local used = {}
    for i = 1, 40 do
      local user = "user" .. i
      local home = register(bob, user)
      used[home] = true
      assert.equal(home, alice:call(("sip:%s@example.com"):format(user)).server)
      assert.equal(home, alice:call(("sip:%s@EXAMPLE.com:5060"):format(user)).server)
    end
    assert.same({ pbx1 = true, pbx2 = true, pbx3 = true }, used)
  end)

  it("gives the registration a way back to the phone through us", function()
    local home = register(bob, "bob")
    assert.matches("^<sip:[^>]*@10.0.0.100", pbx[home]:got("REGISTER")[1]:header "Path")
  end)

  it("agrees on the next server while one is gone", function()
    local home = register(bob, "bob")
    pbx[home]:power_off()
    net:run(10)
    local other = register(bob, "bob")
    assert.not_equal(home, other)
    assert.equal(other, alice:call("sip:bob@example.com").server)
  end)
end)
