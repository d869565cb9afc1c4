-- Retransmissions through the proxy on links that lose, repeat and reorder: one
-- transaction is one run of the script and one final response (reliability 6.2, I1,
-- I2, I5, I13, I21, I26), and nothing is left at the end.
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

local handler = [[
  sip.log.info(req.call_id .. " " .. req.method)
  sip.sleep(0.05)
]] .. wire.failover

local function said(net)
  local counts = {}
  for _, event in ipairs(net.events) do
    if event.event == "script" then
      counts[event.message] = (counts[event.message] or 0) + 1
    end
  end
  return counts
end

-- The different finals that came for a transaction: texts, and how many of 3xx to 6xx.
local function finals(call)
  local texts, failures = {}, 0
  for _, response in ipairs(call.responses) do
    if response.code >= 200 and not texts[response.bytes] then
      texts[response.bytes] = true
      failures = failures + (response.code >= 300 and 1 or 0)
    end
  end
  return failures
end

local function behave(server)
  local n = 0
  server:on("INVITE", function(request, reply)
    n = n + 1
    if request.to_tag then
      return reply(200)
    elseif n % 4 == 0 then
      return reply(503)
    elseif n % 4 == 1 then
      reply(180)
      server:after(2, function() reply(200) end)
    elseif n % 4 == 2 then
      server:after(1, function() reply(486) end)
    else
      server:after(2.5, function() reply(200) end) -- late
    end
  end)
  server:answer("MESSAGE", 200, nil, 0.3)
end

for seed = 1, 4 do
  sim.for_workers("on bad links, seed " .. seed, function(workers)
    after_each(sim.finish)

    it("every transaction has one run of the script and one final", function()
      local net, a, b, alice = wire.world {
        handler = handler, seed = seed, workers = workers, link = {
          loss = 0.15, duplicate = 0.1, reorder = 0.1, delay = 0.01, jitter = 0.03,
        },
      }
      behave(a)
      behave(b)
      local calls = {}
      for i = 1, 30 do
        local call = i % 3 == 0 and alice:request("MESSAGE", uri) or alice:invite(uri)
        calls[i] = call
        net:run(1)
        if i % 5 == 0 and call.method == "INVITE" then
          alice:cancel(call)
        end
      end
      net:run(300)
      local runs = said(net)
      for _, call in ipairs(calls) do
        assert.is_true(call.done)
        local run = runs[call.id .. " " .. call.method] or 0
        assert(run == 1 or (run == 0 and call.error), run)
        assert(finals(call) <= 1)
        assert(not (call.code and call.code >= 300 and call.extra > 0))
      end
      for _, server in ipairs { a, b } do
        for _, request in ipairs(server:got "CANCEL") do
          local rang
          for _, invite in ipairs(server:got "INVITE") do
            rang = rang or invite.branch == request.branch
          end
          assert.is_true(rang)
        end
      end
    end)
  end)
end

sim.for_workers("a retransmission", function(workers)
  after_each(sim.finish)

  it("that another port of a NAT sends is the same transaction (17.2.3)", function()
    local net, a, _, alice = wire.world { handler = wire.single, workers = workers }
    a:ring()
    local call = alice:invite(uri)
    net:run(1)
    net:uac("192.0.2.7:40000", "nat"):send(call.tx.bytes)
    net:run(0.1)
    assert.equal(1, #a:got "INVITE")
    assert.equal(3, #alice:got(180) + #alice:got(100), "answered where the first came from")
    alice:cancel(call)
  end)

  it("of everything is counted in both directions", function()
    local net, a, _, alice = wire.world { handler = wire.single, workers = workers }
    a:silence()
    local call = alice:invite(uri)
    net:run(5)
    local out = net:metric("tandem_retransmissions_total", { direction = "out" })
    assert.equal(3, out)
    assert.equal(0, net:metric("tandem_retransmissions_total", { direction = "in" }))
    alice:send(call.tx.bytes)
    net:run(0.1)
    assert.equal(1, net:metric("tandem_retransmissions_total", { direction = "in" }))
  end)

  it("does not go to another server when the script would choose another by now", function()
    local net, a, b, alice = wire.world {
      workers = workers,
      handler = "pick = not pick " .. [[
        local res = req:try(pick and a or b, { timeout = 10 })
        return res and res:forward() or req:reply(500) ]],
      before = "local pick = false",
    }
    a:silence()
    local call = alice:invite(uri)
    for _ = 1, 5 do
      net:run(0.1)
      alice:send(call.tx.bytes)
    end
    net:run(1)
    assert.equal(1, #wire.branches(a:got "INVITE"))
    assert.same({}, b.received)
    alice:cancel(call)
  end)
end)
