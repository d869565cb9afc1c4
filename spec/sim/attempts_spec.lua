-- Semantics 5: how long an attempt may take.
local sim = require "support.sim"
local policy = require "support.policy"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

-- One attempt at a with these options, and when it ended and how.
local function one(options)
  return ([[
    local began = sip.now()
    local res, err, detail = req:try(a%s)
    say(("%%.3f"):format(sip.now() - began), res and res.code or err,
      detail and detail.cause, detail and detail.provisional)
    if res then return res:forward() end
    return req:reply(500)
  ]]):format(options and ", " .. options or "")
end

sim.for_workers("an attempt", function(workers)
  after_each(sim.finish)

  local w

  local function open(handler, more)
    more = more or {}
    more.workers, more.handler = workers, handler
    w = policy.world(more)
  end

  describe("with `timeout` (to any response)", function()
    it("has 4 s by default", function()
      open(one())
      w.a:silence()
      local call = w.alice:call(uri)
      assert.equal(500, call.code)
      assert.equal(4.002, call.elapsed)
      assert.same({ "4.000 timeout silent false" }, w.said())
      assert.same({ 0.002, 0.502, 1.502, 3.502 }, wire.times(w.a:got "INVITE"))
    end)

    it("is taken literally", function()
      open(one "{ timeout = 1.234 }")
      w.a:silence()
      w.alice:call(uri)
      assert.same({ "1.234 timeout silent false" }, w.said())
    end)

    it("may be longer than Timer B's moments, but not than Timer B", function()
      open(one "{ timeout = 100 }")
      w.a:silence()
      w.alice:call(uri)
      assert.same({ "32.000 timeout silent false" }, w.said())
      assert.equal(7, #w.a:got "INVITE")
    end)

    it("takes the pool's default for its servers", function()
      open(one(), { pool = "attempt = { timeout = 0.75 }" })
      w.a:silence()
      w.alice:call(uri)
      assert.same({ "0.750 timeout silent false" }, w.said())
    end)

    it("ends with any response: a 100 is enough", function()
      open(one "{ timeout = 1 }")
      w.a:on("INVITE", function(_, reply)
        reply(100)
        w.a:after(3, function() reply(486) end)
      end)
      assert.equal(486, w.alice:call(uri).code)
    end)

    it("does not count an ICMP error, which ends it at once", function()
      open(one "{ timeout = 3 }")
      w.a:refuse()
      local call = w.alice:call(uri)
      assert.equal(0.004, call.elapsed)
      assert.same({ "0.002 transport icmp_port false" }, w.said())
    end)
  end)

  describe("with `progress_timeout` (100, and nothing more)", function()
    local function only_100(_, reply)
      reply(100)
    end

    it("has 12 s by default", function()
      open(one())
      w.a:on("INVITE", only_100)
      local call = w.alice:call(uri)
      assert.equal(500, call.code)
      assert.same({ "12.002 timeout no_progress true" }, w.said())
      assert.equal(1, #w.a:got "INVITE")
    end)

    it("runs from the first 100 and is not restarted by others", function()
      open(one "{ progress_timeout = 3 }")
      w.a:on("INVITE", function(_, reply)
        for i = 1, 10 do
          w.a:after(i, function() reply(100) end)
        end
      end)
      w.alice:call(uri)
      assert.same({ "4.002 timeout no_progress true" }, w.said())
    end)

    it("cancels what it gives up", function()
      open(one "{ progress_timeout = 1 }")
      w.a:on("INVITE", only_100)
      w.alice:call(uri)
      w.net:run(1)
      assert.equal("INVITE CANCEL ACK", wire.names(w.a.received))
      assert.equal(w.a:got("INVITE")[1].branch, w.a:got("CANCEL")[1].branch)
    end)

    it("also ends other requests", function()
      open(one "{ progress_timeout = 3 }")
      w.a:on("OPTIONS", only_100)
      assert.equal(500, w.alice:ask("OPTIONS", uri).code)
      assert.same({ "3.002 timeout no_progress true" }, w.said())
      assert.same({}, w.a:got "CANCEL")
    end)
  end)

  describe("with `ring_timeout` (from the first 101-199)", function()
    local loop = [[
      for server in pbx:each(req) do
        local res, err = req:try(server, { timeout = 2 })
        say(server.name, res and res.code or err, res and res.is_local, res and res.server.name)
        if err == "cancelled" then return end
        if res and res.code ~= 503 then return res:forward() end
      end
      return req:reply(500)
    ]]

    it("has 185 s; then a local 408 is forwarded and the backup does not ring", function()
      open(loop)
      w.a:ring()
      local call = w.alice:call(uri)
      w.net:run(1)
      assert.equal(408, call.code)
      assert.equal(185.004, call.elapsed)
      assert.same({ "a 408 true a" }, w.said())
      assert.same({ "a" }, call.tried)
      assert.same({}, w.b.received)
      assert.is_nil(call.server)
    end)

    it("cancels the phone that rang, and says why (RFC 3326)", function()
      open(loop)
      w.a:ring()
      w.alice:call(uri)
      w.net:run(1)
      assert.equal("INVITE CANCEL ACK", wire.names(w.a.received))
      assert.equal('SIP;cause=408;text="Ring time-out"', w.a:got("CANCEL")[1]:header "Reason")
    end)

    it("is not restarted by later ones (checklist 18)", function()
      open(one "{ ring_timeout = 25 }")
      w.a:on("INVITE", function(_, reply)
        for i = 1, 10 do
          w.a:after(10 * (i - 1), function() reply(183) end)
        end
      end)
      local call = w.alice:call(uri)
      assert.equal(408, call.code)
      assert.same({ "25.002 408 nil nil" }, w.said())
      assert.same({ 100, 183, 183, 183 }, call.provisionals)
    end)

    it("takes over from progress_timeout", function()
      open(one "{ progress_timeout = 1, ring_timeout = 20 }")
      w.a:on("INVITE", function(_, reply)
        reply(100)
        w.a:after(0.5, function() reply(180) end)
        w.a:after(15, function() reply(200) end)
      end)
      assert.equal(200, w.alice:call(uri).code)
    end)
  end)

  describe("under Timer C, which stays in the core (checklist 17)", function()
    local patient = one "{ timeout = 60, progress_timeout = 9999, ring_timeout = 9999 }"

    local function ring_at(times, code)
      w.a:on("INVITE", function(_, reply)
        for _, time in ipairs(times) do
          w.a:after(time, function() reply(code) end)
        end
      end)
    end

    it("is cancelled after more than three minutes of ringing, with a 408", function()
      open(patient)
      ring_at({ 0 }, 180)
      local call = w.alice:call(uri, nil)
      w.net:run(1)
      assert.equal(408, call.code)
      assert.equal(240.004, call.elapsed)
      assert.equal("INVITE CANCEL ACK", wire.names(w.a.received))
    end)

    it("has that time again after each 101-199", function()
      open(patient)
      ring_at({ 0, 150, 300 }, 183)
      local call = w.alice:invite(uri)
      w.net:run(600)
      assert.equal(408, call.code)
      assert.equal(540.004, call.elapsed)
    end)

    it("has no more time after a 100", function()
      open(patient)
      ring_at({ 0, 150 }, 100)
      local call = w.alice:invite(uri)
      w.net:run(600)
      assert.equal(408, call.code)
      assert.near(240, call.elapsed, 0.01)
    end)
  end)

  describe("with `retransmits = n`", function()
    -- T1*(2^(n+1)-1)
    for i, seconds in ipairs { 0.5, 1.5, 3.5, 7.5, 15.5 } do
      local n = i - 1
      it(("= %d fails an INVITE after %.1f s"):format(n, seconds), function()
        open(one(("{ retransmits = %d }"):format(n)))
        w.a:silence()
        w.alice:call(uri)
        assert.same({ ("%.3f timeout silent false"):format(seconds) }, w.said())
        assert.equal(n + 1, #w.a:got "INVITE")
      end)
    end

    -- T2 caps the intervals
    for i, seconds in ipairs { 0.5, 1.5, 3.5, 7.5, 11.5, 15.5 } do
      local n = i - 1
      it(("= %d fails an OPTIONS after %.1f s"):format(n, seconds), function()
        open(one(("{ retransmits = %d }"):format(n)))
        w.a:silence()
        w.alice:ask("OPTIONS", uri)
        assert.same({ ("%.3f timeout silent false"):format(seconds) }, w.said())
        assert.equal(n + 1, #w.a:got "OPTIONS")
      end)
    end

    it("counts with another T1", function()
      open(one "{ retransmits = 2 }", { before = "sip.settings { timers = { t1 = 0.1 } }" })
      w.a:silence()
      w.alice:call(uri)
      assert.same({ "0.700 timeout silent false" }, w.said())
      assert.same({ 0.002, 0.102, 0.302 }, wire.times(w.a:got "INVITE"))
    end)

    it("stands in for the pool's timeout, and the pool's for the default", function()
      open(one(), { pool = "attempt = { retransmits = 1 }" })
      w.a:silence()
      w.alice:call(uri)
      open(one "{ retransmits = 0 }", { pool = "attempt = { timeout = 9 }" })
      w.a:silence()
      w.alice:call(uri)
      assert.same({ "0.500 timeout silent false" }, w.said())
    end)

    it("together with timeout is an error, with the line", function()
      open(one "{ timeout = 1, retransmits = 1 }")
      assert.equal(500, w.alice:call(uri).code)
      assert.equal("script.lua:14: req:try: timeout and retransmits exclude each other",
        policy.failure(w.net).error)
      w.net:finish { errors = 1 }
    end)
  end)

  describe("in a loop of the script", function()
    it("is repeated for every server: `attempts` limits relay only", function()
      open([[
        for server in pbx:each(req) do req:try(server, { timeout = 1 }) end
        return req:reply(500)
      ]], { servers = 3, pool = "attempt = { attempts = 1 }" })
      for _, name in ipairs { "a", "b", "c" } do
        w[name]:silence()
      end
      local call = w.alice:call(uri)
      assert.same({ "a", "b", "c" }, call.tried)
      assert.equal(3.002, call.elapsed)
    end)

    it("has its own branch every time, also at the same server (checklist 15)", function()
      open [[
        for _ = 1, 3 do req:try(a, { timeout = 0.4 }) end
        return req:reply(500)
      ]]
      w.a:silence()
      w.alice:call(uri)
      assert.equal(3, #wire.branches(w.a:got "INVITE"))
    end)

    it("is counted against the cap of the core only: forty are fine (checklist 24)", function()
      open [[
        for _ = 1, 40 do req:try(a, { timeout = 0.2 }) end
        return req:reply(500)
      ]]
      w.a:silence()
      local call = w.alice:call(uri)
      assert.equal(500, call.code)
      assert.equal(40, #call.tried)
      assert.equal(8.002, call.elapsed)
    end)
  end)

  it("costs examples/failover.lua 2 s each: 500 after 4.0 s when both are silent", function()
    w = policy.world { workers = workers, script = "examples/failover.lua" }
    local a, b = w.net:uas("127.0.0.1:5081"), w.net:uas("127.0.0.1:5082")
    w.net:run(5)
    a:silence()
    b:silence()
    local call = w.alice:call(uri)
    assert.equal(500, call.code)
    assert.equal("No PBX available", call.reason)
    assert.near(4.0, call.elapsed, 0.01)
    assert.same({ "a", "b" }, call.tried)
  end)
end)

-- A script that tries until somebody answers would go on for ever.
sim.for_workers("a request that is tried again and again", function(workers)
  after_each(sim.finish)

  it("has at most 64 attempts, then it costs a 500 like any script error", function()
    local net = sim.new { workers = workers, source = [[
      local sip = require "tandem"
      sip.listen { "udp:10.0.0.100:5060" }
      local pool = sip.pool("p", { check = false, passive = false,
        servers = { { name = "a", uri = "sip:10.0.0.1" } } })
      sip.route(function(req)
        repeat
          local res = req:try(pool:server "a", { timeout = 1 })
        until res
      end)
    ]] }
    local a, alice = net:uas "10.0.0.1:5060", net:uac "192.0.2.7"
    a:refuse()
    local call = alice:call "sip:bob@example.com"
    assert.equal(500, call.code)
    local sent = 0
    for _, packet in ipairs(net:packets()) do
      sent = sent + (packet.to == "10.0.0.1:5060" and 1 or 0)
    end
    assert.equal(64, sent)
    net:finish { errors = 1 }
  end)
end)
