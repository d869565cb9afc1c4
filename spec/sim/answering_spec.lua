-- A script that answers calls itself (RFC 3261 13.3.1.4): its 2xx is repeated until
-- the ACK, because nobody else would.
local sim = require "support.sim"

local source = [[
  local sip = require "tandem"
  sip.listen { "udp:10.0.0.100:5060" }
  sip.route("INVITE", function(req)
    return req:reply(200, nil, { headers = { Contact = "<sip:10.0.0.100>" } })
  end)
  sip.route("*in_dialog", function(req) return req:reply(200) end)
]]

local function answers(caller)
  local n = 0
  for _, response in ipairs(caller:got(200)) do
    if response:header("CSeq"):find "INVITE" then
      n = n + 1
    end
  end
  return n
end

sim.for_workers("a script that answers calls", function(workers)
  local net, alice

  before_each(function()
    net = sim.new { source = source, workers = workers }
    alice = net:uac("192.0.2.7", "alice")
  end)

  after_each(sim.finish)

  it("sends its 200 once when the ACK comes, and ends with the BYE", function()
    local call = alice:call "sip:bob@example.com"
    net:run(10)
    assert.equal(200, call.code)
    assert.equal(1, answers(alice))
    local bye = alice:bye(call)
    net:run(1)
    assert.equal(200, bye.code)
  end)

  it("repeats its 200 at T1 doubling to T2 until 64*T1 when no ACK comes", function()
    local call = alice:invite("sip:bob@example.com", { ack = false })
    net:run(40)
    local times, first = {}, nil
    for _, response in ipairs(alice:got(200)) do
      first = first or response.time
      times[#times + 1] = math.floor((response.time - first) * 10 + 0.5) / 10
    end
    assert.equal(200, call.code)
    assert.same({ 0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5 }, times)
    assert.equal(1, net:metric "tandem_no_ack_total")
  end)

  it("is answered although every second packet is lost", function()
    net:link { loss = 0.5 }
    local call = alice:call "sip:bob@example.com"
    assert.equal(200, call.code)
    net:link { loss = 0 }
  end)
end)
