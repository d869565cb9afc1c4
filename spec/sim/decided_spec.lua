-- Semantics 1: a request is decided once a 2xx went up or the CANCEL was accepted.
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

-- Says what came of everything a script may still do.
local everything = [[
  local function say(what, ...)
    local list = table.pack(...)
    for i = 1, list.n do
      local value = list[i]
      list[i] = type(value) == "table" or type(value) == "userdata"
        and (value.code and value.code .. " " .. value.server.name) or tostring(value)
    end
    sip.log.info(what .. ": " .. table.concat(list, " ", 1, math.min(list.n, 2)))
  end
  say("try", req:try(b))
  say("fork", req:fork { a, b })
  req:reply(500)
  req:reply(486)
  req:drop "why not"
]]

sim.for_workers("a decided request", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  local function open(opts)
    opts.workers = workers
    net, a, b, alice = wire.world(opts)
  end

  local function said()
    local list = {}
    for _, event in ipairs(net.events) do
      if event.event == "script" then
        list[#list + 1] = event.message
      end
    end
    return list
  end

  local ignored = "tandem_verbs_after_decision_total"

  it("by a 2xx: try and fork return it with who answered, verbs are counted", function()
    open { handler = "req:try(a) " .. everything }
    local call = alice:call(uri)
    assert.equal(200, call.code)
    net:run(1)
    assert.same({ "try: 200 a", "fork: 200 a" }, said())
    assert.same({}, b.received)
    assert.equal(3, net:metric(ignored))
    assert.equal("200", wire.names(call.responses))
  end)

  it("by a late 2xx: try and fork return it with who answered", function()
    open { handler = "req:try(a, { timeout = 1 }) sip.sleep(3) " .. everything }
    a:answer("INVITE", 200, nil, 2)
    local call = alice:call(uri)
    net:run(5)
    assert.equal("a", call.server)
    assert.same({ "try: 200 a", "fork: 200 a" }, said())
    assert.same({}, b.received)
    assert.equal(3, net:metric(ignored))
  end)

  it("by a 2xx of another branch: the pending try returns that", function()
    open { handler = [[
      req:try(a, { timeout = 1 })
      local res = req:try(b, { timeout = 20 })
      sip.log.info(res.code .. " " .. res.server.name .. " " .. sip.now() // 1) ]] }
    a:answer("INVITE", 200, nil, 5)
    b:silence()
    local call = alice:call(uri)
    net:run(1)
    assert.equal(5.004, call.elapsed)
    assert.equal("200 a", said()[1]:match "^200 a")
  end)

  it("by the CANCEL: try and fork return cancelled, verbs are counted", function()
    open { handler = "req:try(a) " .. everything }
    a:silence()
    local call = alice:invite(uri)
    net:run(1)
    alice:cancel(call)
    net:run(1)
    assert.equal(487, call.code)
    assert.same({ "try: nil cancelled", "fork: nil cancelled" }, said())
    assert.equal(3, net:metric(ignored))
    assert.same({}, b.received)
  end)

  it("may end without a verb", function()
    open { handler = "req:try(a, { timeout = 3 })" }
    assert.equal(200, alice:call(uri).code)
    a:silence()
    local call = alice:invite(uri)
    net:run(1)
    alice:cancel(call)
    call:wait()
    assert.equal(487, call.code)
  end)

  it("is one that is no INVITE as well: its 2xx goes up at once", function()
    open { handler = "req:try(a) sip.sleep(1) " .. everything }
    local message = alice:ask("MESSAGE", uri)
    net:run(2)
    assert.equal(200, message.code)
    assert.equal(0.004, message.elapsed)
    assert.same({ "try: 200 a", "fork: 200 a" }, said())
    assert.equal(3, net:metric(ignored))
  end)
end)

sim.for_workers("an undecided request", function(workers)
  after_each(sim.finish)

  local net, alice, _

  local function open(handler, pool)
    net, _, _, alice = wire.world { handler = handler, pool = pool, workers = workers }
  end

  it("that ends without a verb is a script error: 500", function()
    open "return"
    assert.equal(500, alice:call(uri).code)
    assert.equal(500, alice:ask("MESSAGE", uri).code)
    net:finish { errors = 2 }
  end)

  it("that returns nil and why is 500 and no script error", function()
    open 'return nil, "full"'
    assert.equal(500, alice:call(uri).code)
    assert.equal(500, alice:ask("MESSAGE", uri).code)
  end)

  it("whose handler raises is 500", function()
    open 'error "oops"'
    assert.equal(500, alice:call(uri).code)
    net:finish { errors = 1 }
  end)

  it("takes one verb: a second one is an error, and changes nothing", function()
    open "req:reply(486) req:reply(404)"
    local call = alice:call(uri)
    net:run(1)
    assert.equal("486", wire.names(call.responses))
    net:finish { errors = 1 }
  end)
end)
