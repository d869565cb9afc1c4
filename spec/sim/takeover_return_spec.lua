-- A node that comes back: the address returns to it in mid-call, it goes on after a pause,
-- it is started again with calls up, and its clock jumps.
local sim = require "support.sim"
local takeover = require "support.takeover"
local load = require "support.takeover_load"
local wire = require "support.wire"
local ipairs, table = ipairs, table

local uri = takeover.uri

sim.for_workers("a node that comes back", function(workers)
  after_each(sim.finish)

  local w

  local function open(opts)
    opts = opts or {}
    opts.workers = workers
    w = takeover.open(opts)
  end

  local function assert_one_call(call)
    call:wait()
    assert.equal(200, call.code)
    assert.equal(0, call.extra)
    assert.equal(1, w:transactions "INVITE")
    w.net:run(0.1)
    assert.equal(200, w.alice:bye(call):wait().code)
    assert.equal(0, w.a.unacked + w.b.unacked)
  end

  describe("and the address with it,", function()
    it("while it rings: by the first, the second, and the first again", function()
      open()
      w.a:ring(6)
      local call = w.alice:invite(uri)
      w.net:run(1)
      w:die(0.36)
      w.net:run(2)
      w:fail_back()
      assert_one_call(call)
      assert.same({ "200 alice", "ACK a", "BYE a", "200 alice" },
        w:sent_by(w.one, 3.1))
    end)

    it("between the INVITE and its repetition", function()
      open()
      w.a:silence()
      local call = w.alice:invite(uri)
      w.net:run(0.1)
      w:die()
      w.net:run(0.6) -- the second has it now, too
      w:fail_back()
      w.a:resume()
      assert_one_call(call)
      assert.equal(1, #wire.branches(w.a:got "INVITE"))
    end)

    it("from a living one, which keeps still", function()
      open()
      w:die()
      w.a:ring(3)
      local call = w.alice:invite(uri)
      w.net:run(1)
      w:fail_back()
      local since = w.net.now
      assert_one_call(call)
      w.net:run(60)
      assert.same({}, w:sent_by(w.two, since))
    end)

    local impatient = [[function(req)
      return req:relay(pbx, { ring_timeout = 3 })
    end]]

    it("while it rings, and the first had enough when it could not say so", function()
      open { alive = true, handler = impatient }
      w.a:ring(12)
      local call = w.alice:invite(uri)
      w.net:run(1)
      w:die()
      w.net:run(4)
      w.one:take(w.vip)
      assert_one_call(call)
      assert.same({}, w.alice:got(408))
      assert.same({}, w.a:got "CANCEL")
      w.net:run(60)
      assert.equal(1, #w.a:got "BYE")
      assert.equal(1, w.one:metric("tandem_dropped_total", { reason = "no_source" }))
    end)

    it("and the caller repeats what the first had given up: the answer is that one's", function()
      open { alive = true, handler = "function(req) return req:relay(pbx, { timeout = 0.1 }) end" }
      local n = 0
      w.a:on("INVITE", function(_, reply)
        n = n + 1
        if n == 1 then
          w.a:after(0.54, function() reply(200) end)
        end
      end)
      local call = w.alice:invite(uri)
      w.net:run(0.01)
      w:die()
      w.net:run(0.3)
      w.one:take(w.vip)
      call:wait()
      w.net:run(0.5)
      assert.equal(200, call.code)
      assert.equal("a", call.server)
      assert.same({}, w.b:got "INVITE")
      assert.same({}, w.alice:got(100))
      assert.equal(1, w.net:count("request", { method = "INVITE", code = 200 }))
    end)

    it("and what was asked in vain is asked again: in branches of their own", function()
      open { alive = true, handler = [[function(req)
        for server in pbx:each(req) do
          for _ = 1, 2 do req:try(server, { timeout = 1 }) end
          return req:reply(500)
        end
      end]] }
      w.a:silence()
      local asked = w.alice:request("MESSAGE", uri)
      w.net:run(1.9)
      w.one:drop(w.vip) -- 500 is not this one's to say then
      w.net:run(1)
      w.one:take(w.vip)
      w.a:refuse()
      asked:wait()
      assert.equal(500, asked.code)
      local seen, n = {}, 0
      for _, packet in ipairs(w.net:packets()) do
        local via = packet.node and packet.bytes:match "^MESSAGE [^\r]*\r\n(Via:[^\r]*)"
        local branch = via and via:match "branch=(%w+)"
        if branch and not seen[branch] then
          seen[branch], n = true, n + 1
        end
      end
      assert.equal(4, n)
    end)

    it("from one that had enough, and the second has passed the answer on", function()
      open { alive = true, handler = impatient, nodes = true }
      w.a:ring(5)
      local call = w.alice:invite(uri)
      w.net:run(1)
      w:die()
      call:wait()
      w.one:take(w.vip)
      w.net:run(40)
      assert.same({}, w.a:got "BYE")
      assert_one_call(call)
    end)

    -- What its caller was told in the end: codes and To tags, each once.
    local function finals(code)
      local list, seen = {}, {}
      for _, response in ipairs(w.alice:got(code)) do
        local tag = response.to_tag
        if response.cseq_method == "INVITE" and not seen[tag] then
          seen[tag] = true
          list[#list + 1] = tag
        end
      end
      return list
    end

    for _, nodes in ipairs { true, false } do
      local how = nodes and "which it is told" or "which nobody tells it"
      it("after a stop in which the caller has cancelled by the second, " .. how, function()
        open { alive = true, nodes = nodes }
        w.a:ring(60)
        local call = w.alice:invite(uri)
        w.net:run(1)
        w.one:pause()
        w.alice:cancel(call)
        w.net:run(2)
        w:die() -- the CANCEL waits in its socket, and is repeated to the second
        call:wait()
        assert.equal(487, call.code)
        w.net:run(7)
        w.one:resume()
        w.net:run(5)
        w.one:take(w.vip)
        w.net:run(90)
        assert.equal(1, #finals(487))
      end)
    end

    for _, what in ipairs { "rung", "said nothing before" } do
      it("after the second has passed the refusal on of a server that had " .. what, function()
        open { alive = true, nodes = true, handler = [[function(req)
          return req:relay(pbx, { timeout = 8, ring_timeout = 8 })
        end]] }
        w.a:on("INVITE", function(_, reply)
          if what == "rung" then
            reply(180)
          end
          w.a:after(2, function() reply(486) end)
        end)
        local call = w.alice:invite(uri)
        w.net:run(1)
        w:die()
        call:wait()
        assert.equal(486, call.code)
        w.one:take(w.vip)
        w.net:run(90)
        assert.same({}, w.alice:got(408))
        assert.same({}, w.alice:got(500))
        assert.same({}, w.b:got "INVITE")
      end)
    end

    it("with a CANCEL on its way", function()
      open()
      w.a:ring(30)
      w:die()
      local call = w.alice:invite(uri)
      w.net:run(1)
      w:fail_back()
      w.alice:cancel(call)
      call:wait(5)
      assert.equal(487, call.code)
      assert.equal(200, call.cancel.code)
      assert.equal(0, w.a.unacked)
    end)
  end)

  describe("from a pause of 10 s,", function()
    -- Calls of all ages when it stops: those that are up, that ring, that just began.
    local function busy_node()
      open()
      w.a:ring(1.5)
      local calls = {}
      for i = 1, 30 do
        calls[i] = w.alice:invite(uri)
        w.net:run(0.1)
      end
      w.one:pause()
      return calls
    end

    local function assert_all(calls)
      for _, call in ipairs(calls) do
        call:wait()
        assert.equal(200, call.code)
        assert.equal(0, call.extra)
        assert.equal(1, w:transactions("INVITE", call))
        assert.equal(200, w.alice:bye(call):wait().code)
      end
      assert.equal(0, w.a.unacked + w.b.unacked)
    end

    it("with its address: nothing is lost, nothing comes twice", function()
      local calls = busy_node()
      w.net:run(10)
      w.one:resume()
      w.net:run(1)
      assert_all(calls)
      assert.same({}, w.b:got "INVITE")
    end)

    it("whose address another one has: it sends nothing from it", function()
      local calls = busy_node()
      w.net:run(1)
      for i = 1, 10 do -- in its socket, before the other one is there
        calls[#calls + 1] = w.carol:invite(uri)
        w.net:run(0.1 * (i % 2))
      end
      w.two:take(w.vip)
      w.net:run(8)
      for _, call in ipairs(calls) do
        assert.equal(200, call.code)
      end
      local since = w.net.now
      local heard = #w.alice.received + #w.carol.received
      w.one:resume()
      w.net:run(3)
      assert.same({}, w:sent_by(w.one, since))
      assert.equal(heard, #w.alice.received + #w.carol.received)
      for i, call in ipairs(calls) do
        local who = i <= 30 and w.alice or w.carol
        assert.equal(0, call.extra)
        assert.equal(1, w:transactions("INVITE", call))
        assert.equal(200, who:bye(call):wait().code)
      end
      w.net:run(60)
      assert.same({}, w:sent_by(w.one, since))
    end)

    it("with a socket that was too small: what was lost is repeated", function()
      local calls = busy_node()
      w.one:pause { buffer = 3000 }
      for i = 1, 20 do
        calls[#calls + 1] = w.alice:invite(uri)
        w.net:run(0.01 * i)
      end
      w.net:run(2)
      w.one:resume()
      w.net:run(20)
      assert_all(calls)
    end)
  end)

  describe("after a restart", function()
    for _, how in ipairs { "stop", "crash" } do
      for _, state in ipairs { true, false } do
        it(("by %s, %s a state_dir: no call that is up is lost"):format(how,
          state and "with" or "without"), function()
          open { before = state and 'sip.settings { state_dir = "/var/lib/tandem" }' or "" }
          local calls = {}
          for i = 1, 10 do
            calls[i] = w.alice:call(uri)
            w.net:run(0.2)
          end
          w.net:run(1)
          assert.equal(10, w.one.pools.pbx.a.calls)
          w.one[how](w.one)
          w.net:run(1)
          w.one:start()
          assert.equal(state and 10 or 0, w.one.pools.pbx.a.calls)
          for i, call in ipairs(calls) do
            assert.equal(200, w.alice:reinvite(call):wait().code)
            w.net:run(0.1)
            local who = i % 2 == 0 and w.alice or w.a
            assert.equal(200, who:bye(call):wait().code)
          end
          assert.equal(0, w.one.pools.pbx.a.calls)
        end)
      end
    end

    it("by crash, while it rings", function()
      open()
      w.a:ring(3)
      local call = w.alice:invite(uri)
      w.net:run(1)
      w.one:crash()
      w.net:run(0.5)
      w.one:start()
      assert_one_call(call)
    end)
  end)
end)

describe("an address that goes to and fro", function()
  after_each(sim.finish)

  -- Once in so many seconds, for twenty; the node that loses it may die of it, and is
  -- started again at once, with nothing in its memory.
  local function flapping(opts)
    opts.servers = load.answering
    local w = takeover.open(opts)
    local function move(at, from, to)
      w.net:after(at, function()
        w[to]:take(w.vip)
        if opts.dies then
          w[from]:crash()
          w[from]:start()
        end
      end)
    end
    for at = opts.every, 20, 2 * opts.every do
      move(at, "one", "two")
      move(at + opts.every, "two", "one")
    end
    return w, load.calls(w, 18, 10)
  end

  for _, every in ipairs { 0.7, 3 } do
    for _, dies in ipairs { false, true } do
      for _, nodes in ipairs { false, true } do
        it(("every %.1f s, %s, %s: no call is lost or had twice"):format(every,
          dies and "from one that dies" or "from one that lives",
          nodes and "nodes that know of each other" or "nodes that do not"), function()
          local w, calls = flapping { policy = "relay", every = every, dies = dies,
            nodes = nodes }
          assert.equal(180, load.one_each(w, calls))
        end)
      end
    end
  end
end)

-- Every packet, but for who is told what by the clock.
describe("a wall clock that jumps", function()
  after_each(sim.finish)

  local function flow(jumps)
    local w = takeover.open {
      checks = "check = { interval = 2, timeout = 1, fall = 3, rise = 2 }",
      pool = "failback = { hold = 30 }",
      handler = takeover.failover,
      before = 'sip.settings { state_dir = "/var/lib/tandem" }',
    }
    w.a:ring(3)
    w.b:ring(3)
    local function jump(at, by)
      w.net:after(at, function()
        for _, node in ipairs { w.one, w.two } do
          node:skew(jumps and by or 0)
        end
      end)
    end
    jump(6, 3600)
    jump(11, -7200)
    jump(14, 3600)
    jump(30, -3600)
    jump(50, 7200)
    w.net:run(5)
    local first = w.alice:invite(uri)
    local dead = w.carol:invite("sip:nobody@example.com", { ack = false })
    first:wait()
    w.net:run(4)
    w.alice:reinvite(first):wait()
    w.a:silence() -- down, held, and back
    w.net:run(10)
    w.alice:call(uri)
    w.a:resume()
    w.net:run(20)
    w:die(0.36)
    w.alice:call(uri)
    w.net:run(30)
    w.alice:bye(first)
    w.alice:cancel(dead)
    w.net:run(60)
    local list = {}
    for i, packet in ipairs(w.net:packets()) do
      list[i] = ("%.6f %s %s %s %s"):format(packet.time, packet.from, packet.to, packet.fate,
        packet.bytes:match "^[^\r]*")
    end
    return table.concat(list, "\n"), w
  end

  it("moves no timer, whichever way: not a packet is sent earlier, later or not at all",
    function()
      local calm = flow(false)
      local jumpy, w = flow(true)
      assert.equal(calm, jumpy)
      assert(#w.net:packets() > 150, #w.net:packets())
    end)
end)
