-- Max-Breadth of parallel branches: RFC 5393 5.3.3, checklist 31.
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

local fork = [[
  local res, err = req:fork({ a, b }, { timeout = 5 })
  if res then return res:forward() end
  if err ~= "cancelled" then return req:reply(500) end
]]

sim.for_workers("Max-Breadth", function(workers)
  after_each(sim.finish)

  local a, b

  local function call(handler, breadth)
    local alice, _
    _, a, b, alice = wire.world { handler = handler, workers = workers }
    a:answer("INVITE", 486)
    b:answer("INVITE", 486)
    return alice:call(uri, { headers = breadth and { ["Max-Breadth"] = breadth } })
  end

  local function at(server)
    return server:got("INVITE")[1]:all "Max-Breadth"
  end

  for given, shares in pairs { ["60"] = { "30", "30" }, ["7"] = { "4", "3" },
    ["2"] = { "1", "1" } } do
    it("of " .. given .. " is shared out among the branches of a fork", function()
      call(fork, given)
      assert.same({ shares[1] }, at(a))
      assert.same({ shares[2] }, at(b))
    end)
  end

  it("is 60 for a fork that came without one", function()
    call(fork)
    assert.same({ "30", "30" }, { at(a)[1], at(b)[1] })
  end)

  it("of 1 reaches one of two", function()
    assert.equal(486, call(fork, "1").code) -- a real answer beats our 440
    assert.same({ "1" }, at(a))
    assert.same({}, b.received)
  end)

  it("of 0 reaches nobody: 440", function()
    assert.equal(440, call(fork, "0").code)
    assert.same({}, a.received)
    assert.same({}, b.received)
  end)

  it("is whole for every attempt of a failover, which are one at a time", function()
    call([[
      req:try(a)
      return req:try(b):forward() ]], "5")
    assert.same({ "5" }, at(a))
    assert.same({ "5" }, at(b))
  end)
end)
