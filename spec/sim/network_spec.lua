-- The simulated network itself, with endpoints that call each other directly and
-- nodes that have no script.
local sim = require "support.sim"

describe("the simulated network", function()
  after_each(sim.finish)

  local net, alice, bob

  before_each(function()
    net = sim.new { seed = 5 }
    alice, bob = net:uac("192.0.2.7", "alice"), net:uas("192.0.2.8", "bob")
  end)

  describe("links", function()
    it("take a millisecond", function()
      alice:call "sip:bob@192.0.2.8"
      assert.ladder(net, [[
        0.000 alice INVITE -> bob
        0.001 bob   200    -> alice
        0.002 alice ACK    -> bob
      ]])
    end)

    it("take as long as they are told, one way or both", function()
      net:link(alice, bob, { delay = 0.1 })
      net:link(bob, alice, { delay = 0.3, oneway = true })
      assert.equal(0.4, alice:call("sip:bob@192.0.2.8").elapsed)
    end)

    it("lose what they are told to lose", function()
      net:link(alice, bob, { loss = 1 })
      local call = alice:call "sip:bob@192.0.2.8"
      assert.equal("timeout", call.error)
      assert.same({}, bob.received)
      assert.equal("lost", net:packets()[1].fate)
    end)

    it("lose the share they are told to lose", function()
      net:link(alice, bob, { loss = 0.3 })
      for _ = 1, 1000 do
        alice:send("\r\n", bob.addr)
      end
      net:run(1)
      assert.near(700, #bob.garbage, 50)
    end)

    it("keep the order in spite of jitter", function()
      net:link(alice, bob, { jitter = 0.05 })
      for i = 1, 100 do
        alice:send(tostring(i), bob.addr)
        net:run(0.001)
      end
      net:run(1)
      for i = 1, 100 do
        assert.equal(tostring(i), bob.garbage[i].bytes)
      end
    end)

    it("reorder and duplicate on request", function()
      net:link(alice, bob, { reorder = 0.2, duplicate = 0.2 })
      for i = 1, 200 do
        alice:send(tostring(i), bob.addr)
        net:run(0.001)
      end
      net:run(1)
      assert.near(240, #bob.garbage, 25)
      local overtaken = 0
      for i = 2, #bob.garbage do
        if tonumber(bob.garbage[i].bytes) < tonumber(bob.garbage[i - 1].bytes) then
          overtaken = overtaken + 1
        end
      end
      assert(overtaken > 10, overtaken)
    end)

    it("are cut by partitions until they heal", function()
      net:partition(alice, bob, { oneway = true })
      local call = alice:invite "sip:bob@192.0.2.8"
      bob:send("\r\n", alice.addr)
      net:run(1)
      assert.equal(0, #bob.received)
      assert.equal(1, #alice.garbage)
      net:heal()
      assert.equal(200, call:wait().code)
    end)

    it("say no to what is not a probability", function()
      assert.has_error(function()
        net:link(alice, bob, { loss = 2 })
      end, "loss must be from 0 to 1")
    end)
  end)

  describe("hosts", function()
    it("return ICMP for a port nobody listens on, after a round trip", function()
      bob:refuse()
      local call = alice:invite "sip:bob@192.0.2.8"
      net:run(0.1)
      assert.equal(1, #alice.icmp)
      assert.equal(0.002, alice.icmp[1].time)
      assert.equal(call.tx.bytes:sub(1, 520), alice.icmp[1].quoted)
      bob:resume()
      assert.equal(200, call:wait().code)
    end)

    it("are silent when they are dead or were never there", function()
      bob:power_off()
      alice:send("\r\n", bob.addr)
      alice:send("\r\n", "192.0.2.99")
      net:run(1)
      assert.same({}, alice.icmp)
      assert.equal("dead", net:packets()[1].fate)
      assert.equal("nobody", net:packets()[2].fate)
    end)

    it("have one endpoint per address", function()
      assert.has_error(function()
        net:uas("192.0.2.8", "bob")
      end, "the address 192.0.2.8:5060 is taken")
    end)
  end)

  describe("time", function()
    it("moves by what run is told and nothing else", function()
      net:run(86400)
      assert.equal(86400, net.now)
    end)

    it("stops when the condition holds, or at the limit", function()
      net:after(3, function()
        bob.flag = true
      end)
      assert.is_true(net:run_until(function()
        return bob.flag
      end))
      assert.near(3, net.now, 0.02)
      assert.is_false(net:run_until(function() end, 7))
      assert.near(10, net.now, 0.02)
    end)

    it("does not move inside a handler", function()
      bob:on("INVITE", function()
        net:run(1)
      end)
      assert.error_matches(function()
        alice:call "sip:bob@192.0.2.8"
      end, "the network runs already")
    end)
  end)

  it("refuses options it does not know", function()
    assert.error_matches(function()
      sim.new { sead = 1 }
    end, "unknown option 'sead'")
  end)
end)

describe("endpoints", function()
  after_each(sim.finish)

  local net, alice, bob

  before_each(function()
    net = sim.new { seed = 6 }
    alice, bob = net:uac("192.0.2.7", "alice"), net:uas("192.0.2.8", "bob")
  end)

  it("retransmit an INVITE at T1, doubling, and give up after 64*T1", function()
    bob:silence()
    local call = alice:call "sip:bob@192.0.2.8"
    assert.equal("timeout", call.error)
    assert.equal(32, call.elapsed)
    assert.same({ 0.001, 0.501, 1.501, 3.501, 7.501, 15.501, 31.501 },
      sim.seconds(bob:got "INVITE"))
  end)

  it("retransmit other requests with intervals up to T2", function()
    bob:silence()
    local call = alice:ask("OPTIONS", "sip:bob@192.0.2.8")
    assert.equal("timeout", call.error)
    assert.same({ 0.001, 0.501, 1.501, 3.501, 7.501, 11.501, 15.501, 19.501, 23.501,
      27.501, 31.501 }, sim.seconds(bob:got "OPTIONS"))
  end)

  it("repeat a 2xx until the ACK and hang up without one", function()
    local call = alice:invite("sip:bob@192.0.2.8", { ack = false })
    net:run(40)
    assert.equal(200, call.code)
    assert.equal(1 + 10, #alice:got(200))
    assert.equal(1, bob.unacked)
    assert.equal(1, #alice:got "BYE")
    assert.equal("ended", call.state)
  end)

  it("answer a repeated 2xx with the same ACK", function()
    bob:ring(1)
    local call = alice:invite "sip:bob@192.0.2.8"
    net:run(0.5)
    net:partition(alice, bob, { oneway = true })
    net:run(1)
    net:heal()
    net:run(40)
    assert.equal(2, #alice:got(200))
    assert.equal(1, #bob:got "ACK")
    assert.equal(0, bob.unacked)
    assert.equal("up", call.state)
  end)

  it("ring, answer, talk and hang up", function()
    bob:ring(2)
    local call = alice:call "sip:bob@192.0.2.8"
    assert.same({ 180 }, call.provisionals)
    assert.equal(2.002, call.elapsed)
    assert.equal("bob", call.server)
    assert.equal(200, alice:reinvite(call):wait().code)
    assert.equal(200, alice:in_dialog(call, "UPDATE"):wait().code)
    assert.equal(200, bob:in_dialog(call, "INFO"):wait().code)
    assert.equal(200, bob:bye(call):wait().code)
    assert.equal("ended", call.state)
  end)

  it("cancel, but not before a provisional came", function()
    bob:on("INVITE", function(_, reply)
      bob:after(1, function()
        reply(180)
      end)
    end)
    local call = alice:invite "sip:bob@192.0.2.8"
    alice:cancel(call)
    net:run(0.4)
    assert.equal(0, #bob:got "CANCEL")
    net:run(2)
    assert.equal(487, call.code)
    assert.equal(200, call.cancel.code)
  end)

  it("confirm reliable provisionals", function()
    bob:on("INVITE", function(_, reply)
      reply(183, { reliable = true })
      bob:after(3, function()
        reply(200)
      end)
    end)
    local call = alice:call "sip:bob@192.0.2.8"
    assert.equal(200, call.code)
    assert.equal("1 1 INVITE", bob:got("PRACK")[1]:header "RAck")
    assert.same({ 183 }, call.provisionals)
  end)

  it("hang up a second answer to one call", function()
    bob:on("INVITE", function(_, reply)
      reply(180, { tag = "one" })
      reply(200, { tag = "one" })
    end)
    local call = alice:call "sip:bob@192.0.2.8"
    local other = call.response.bytes:gsub("tag=one", "tag=two")
    bob:send(other, alice.addr)
    net:run(1)
    assert.equal(1, call.extra)
    assert.equal("two", bob:got("BYE")[1].to_tag)
    assert.equal("up", call.state)
  end)

  it("forget their calls when they crash", function()
    local call = alice:call "sip:bob@192.0.2.8"
    bob:crash()
    bob:resume()
    assert.equal(481, alice:bye(call):wait().code)
  end)

  it("answer once, then as before", function()
    bob:once("INVITE", 486)
    assert.equal(486, alice:call("sip:bob@192.0.2.8").code)
    assert.equal(200, alice:call("sip:bob@192.0.2.8").code)
  end)

  it("answer later, with headers", function()
    bob:answer("MESSAGE", 503, { ["Retry-After"] = "7" }, 1.5)
    local message = alice:ask("MESSAGE", "sip:bob@192.0.2.8", { body = "hello" })
    assert.equal(503, message.code)
    assert.equal("7", message.headers["retry-after"])
    assert.equal(1.502, message.elapsed)
    assert.equal("hello", bob:got("MESSAGE")[1].body)
  end)
end)

-- Every node of these has two workers, and there are two nodes.
describe("nodes", function()
  after_each(sim.finish)

  local net, one, two, alice

  before_each(function()
    net = sim.new { seed = 7, listen = "udp:0.0.0.0:5060", workers = 2 }
    one, two = net.nodes[1], net:node()
    alice = net:uac("192.0.2.7", "alice")
  end)

  it("answer each on its own", function()
    assert.equal(503, alice:call("sip:bob@example.com").code)
    assert.equal(503, alice:call("sip:bob@example.com", { proxy = two.addr }).code)
    net:run(1)
    assert.equal(0, one:metric("tandem_messages_total", { direction = "out", kind = "request" }))
    assert.equal(2, two:metric("tandem_messages_total", { direction = "in" }))
  end)

  it("hand over between workers at the same time, never from inside", function()
    for i = 1, 20 do
      local call = alice:call("sip:bob@example.com", { call_id = "call" .. i })
      assert.equal(503, call.code)
      assert.equal(0.002, call.elapsed)
    end
    local handed = net:metric "tandem_handovers_total"
    assert(handed > 0 and handed < 60, handed)
  end)

  it("answer once what seems to belong to several of them", function()
    for i = 1, 20 do -- some by the one that has it, some by the other
      local call = alice:invite("sip:bob@example.com", { call_id = "a" .. i,
        headers = { ["i"] = "b" .. i } })
      assert.equal(400, call:wait().code)
    end
    net:run(40)
    assert.equal(20, net:metric("tandem_messages_total", { direction = "out" }))
  end)

  it("return ICMP when the process died, and come back", function()
    one:crash()
    local call = alice:invite "sip:bob@example.com"
    net:run(0.1)
    assert.equal(1, #alice.icmp)
    one:start()
    assert.equal(503, call:wait().code)
  end)

  it("are silent when the machine died", function()
    one:power_off()
    alice:invite "sip:bob@example.com"
    net:run(0.1)
    assert.equal(0, #alice.icmp)
  end)

  it("pass an address on", function()
    one:power_off()
    local call = alice:invite "sip:bob@example.com"
    net:run(1)
    two:take "10.0.0.100"
    assert.equal(503, call:wait().code)
    assert.ladder(call, [[
      0.000 alice  INVITE -x proxy
      0.500 alice  INVITE -x proxy
      1.500 alice  INVITE -> proxy2
      1.501 proxy2 503    -> alice
      1.502 alice  ACK    -> proxy2
    ]])
  end)
end)

sim.for_workers("a policy in the simulator", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  local function start(source, opts)
    opts = opts or {}
    opts.source, opts.workers = source, workers
    net = sim.new(opts)
    a, b = net:uas "10.0.0.1:5060", net:uas "10.0.0.2:5060"
    alice = net:uac("192.0.2.7", "alice")
  end

  local function script(handler)
    return [[
      local sip = require "tandem"
      sip.listen { "udp:0.0.0.0:5060" }
    ]] .. handler
  end

  it("is asked who was tried and who answered", function()
    start(sim.failover)
    a:answer("INVITE", 503)
    local call = alice:call "sip:bob@example.com"
    assert.equal(200, call.code)
    assert.same({ "a", "b" }, call.tried)
    assert.equal("b", call.server)
    b:answer("INVITE", 503)
    call = alice:call "sip:bob@example.com"
    assert.equal(500, call.code)
    assert.is_nil(call.server)
  end)

  it("counts an attempt at a server that is gone", function()
    start(sim.failover)
    a:refuse()
    local call = alice:call "sip:bob@example.com"
    net:run(0.1)
    assert.ladder(call, [[
      0.000 alice INVITE    -> proxy
      0.001 proxy INVITE    -x a
      0.002 a     icmp_port -> proxy
      0.003 proxy INVITE    -> b
      0.004 b     200       -> proxy
      0.005 proxy 200       -> alice
      0.006 alice ACK       -> proxy
      0.007 proxy ACK       -> b
    ]])
    assert.same({ "a", "b" }, call.tried)
  end)

  it("lets a server call and hang up", function()
    start(sim.failover)
    local call = a:call("sip:alice@192.0.2.7", { proxy = net.proxy })
    assert.equal("alice", call.server)
    assert.equal(200, alice:bye(call):wait().code)
    call = alice:call "sip:bob@example.com"
    assert.equal(200, a:bye(call):wait().code)
    assert.equal("ended", call.state)
  end)

  it("shows its pools, metrics, events and log lines", function()
    start(script [[
      local pool = sip.pool("pbx", { servers = { { name = "a", uri = "sip:10.0.0.1" } },
        check = false })
      sip.route(function(req)
        sip.log.info("hello", { number = 7 })
        return req:relay(pool)
      end)
    ]])
    alice:call "sip:bob@example.com"
    assert.equal("up", net.pools.pbx.state)
    assert.equal("up", net.pools.pbx.a.status)
    assert.equal(1, net:metric("tandem_server_status", { server = "a", status = "up" }))
    assert.has_error(function()
      net:metric "tandem_no_such_thing"
    end, "there is no metric tandem_no_such_thing")
    assert.equal(1, net:count("script", { message = "hello", number = 7 }))
    assert.equal(0, net:count("script", { number = 8 }))
    assert.matches("event=script message=hello number=7", table.concat(net.logs, "\n"))
  end)

  it("reads the files it is given", function()
    start(script [[
      local greet = require "greeting"
      local data = sip.data "servers.json"
      sip.route(function(req) return req:reply(200, greet(data[1])) end)
    ]], { files = {
      ["greeting.lua"] = "return function(name) return 'Hello ' .. name end",
      ["servers.json"] = '["you"]',
    } })
    assert.equal("Hello you", alice:ask("MESSAGE", "sip:bob@example.com").reason)
  end)

  it("is refused with the line and the seed when it is wrong", function()
    local ok, why = pcall(start, script "sip.lisen {}", { seed = 77 })
    assert.is_false(ok)
    assert.matches("^script.lua:3: .*lisen.*\n%(seed 77%)$", why)
  end)

  it("is replaced, or stays when the new one is wrong", function()
    start(script "sip.route(function(req) return req:reply(480) end)")
    local ok, why = net:reload { source = "oops(" }
    assert.is_nil(ok)
    assert.matches("script.lua:1", why)
    assert.equal(480, alice:call("sip:bob@example.com").code)
    assert.is_true(net:reload {
      source = script "sip.route(function(req) return req:reply(486) end)",
    })
    assert.equal(486, alice:call("sip:bob@example.com").code)
  end)

  it("gives the same branch on every node of a cluster", function()
    start(sim.failover)
    local two = net:node()
    a:silence()
    local opts = { branch = "z9hG4bKsame", call_id = "same", from_tag = "same" }
    alice:invite("sip:bob@example.com", opts)
    opts.proxy = two.addr
    alice:invite("sip:bob@example.com", opts)
    net:run(0.1)
    local invites = a:got "INVITE"
    assert.not_equal(invites[1].source, invites[2].source)
    assert.equal(invites[1].branch, invites[2].branch)
  end)

  it("sees the wall clock of its machine", function()
    start(script "sip.route(function(req) return req:reply(200, tostring(os.time())) end)",
      { start = 1000000000 })
    net:run(5)
    assert.equal("1000000005", alice:ask("MESSAGE", "sip:x@example.com").reason)
    net.nodes[1]:skew(-3600)
    assert.equal("999996405", alice:ask("MESSAGE", "sip:x@example.com").reason)
  end)

  describe("and finish", function()
    local function failure(opts)
      local ok, why = pcall(net.finish, net, opts)
      return ok or why
    end

    it("fails for a script error, unless it was meant", function()
      start(script "sip.route(function(req) error 'oops' end)", { seed = 9 })
      assert.equal(500, alice:call("sip:bob@example.com").code)
      assert.matches("1 script errors, 0 expected.*oops", failure())
      start(script "sip.route(function(req) error 'oops' end)")
      assert.equal(500, alice:call("sip:bob@example.com").code)
      assert.is_true(failure { errors = 1 })
    end)

    it("fails for a request that never ends, and names the seed", function()
      start(script "sip.route(function(req) sip.sleep(1e6) end)", { seed = 9 })
      alice:invite "sip:bob@example.com"
      net:run(1)
      local why = failure()
      assert.matches("seed 9", why)
      assert.matches("1 requests", why)
      assert.matches("1 tasks", why)
    end)
  end)
end)
