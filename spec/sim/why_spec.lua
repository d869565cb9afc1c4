-- The decision trace: what an operator is told of a call, and why it went there.
local cjson = require "cjson"
local sim = require "support.sim"
local policy = require "support.policy"
local why = require "support.why"

local uri = "sip:bob@example.com"

sim.for_workers("why", function(workers)
  after_each(sim.finish)

  local w, net

  local function open(opts)
    opts.workers = workers
    w = policy.world(opts)
    net = w.net
    return w
  end

  local function words(call, method)
    local list = why.words(why.of(net, call.id, method or "INVITE"))
    table.remove(list, 1) -- received
    return list
  end

  describe("of a call", function()
    it("says who sent what, where to, and how it ended", function()
      open {}
      local call = w.alice:call(uri)
      net:run(1)
      local record = why.of(net, call.id)
      assert.equal("INVITE", record.method)
      assert.equal(uri, record.uri)
      assert.equal("sip:alice@192.0.2.7", record.caller)
      assert.equal("192.0.2.7:5060;transport=udp", record.from)
      assert.equal("10.0.0.100:5060;transport=udp", record.to)
      assert.equal("initial", record.kind)
      assert.equal(200, record.code)
      assert.equal("script.lua:13", record.at)
      assert.is_nil(record.failed)
      assert.is_nil(record.open)
      assert.near(0.002, record.total, 0.001)
      assert.same({
        "choice pbx a", "attempt pbx/a 1", "answer 1 200", "reply 200", "verb forward",
      }, words(call))
    end)

    it("has no secrets", function()
      open { handler = [=[
        if req.method == "MESSAGE" then error(req:header "Authorization") end
        return req:relay(pbx)
      ]=] }
      local secret = "sip:bob:geheim@example.com"
      local call = w.alice:call(secret)
      local message = w.alice:request("MESSAGE", secret, { headers = {
        { "Authorization", 'Digest username="a", response="0123456789abcdef"' } } })
      net:run(1)
      local record = why.of(net, call.id)
      assert.equal("sip:bob:******@example.com", record.uri)
      for _, one in ipairs { record, why.of(net, message.id, "MESSAGE") } do
        local text = cjson.encode(one)
        assert.is_nil(text:find("geheim", 1, true))
        assert.is_nil(text:find("0123456789abcdef", 1, true))
      end
      net:finish { errors = 1 }
    end)

    it("names each attempt, its cause and its time", function()
      open { servers = 3, handler = "return req:relay(pbx, { attempts = 3, timeout = 2 })" }
      w.a:silence()
      w.b:answer("INVITE", 503)
      w.c:ring(3)
      local call = w.alice:call(uri)
      net:run(1)
      assert.same({
        "choice pbx a", "attempt pbx/a 1", "failed 1 silent",
        "choice pbx b", "attempt pbx/b 2", "answer 2 503",
        "choice pbx c", "attempt pbx/c 3", "provisional 3 180", "reply 180", "answer 3 200",
        "reply 200", "verb forward",
      }, words(call))
      local failed = why.steps(why.of(net, call.id), "failed")[1]
      assert.near(2, failed.t, 0.001)
    end)

    for what, cause in pairs { refuse = "icmp_port", silence = "silent" } do
      it(("that nobody took: %s"):format(cause), function()
        open { handler = "return req:relay(pbx, { timeout = 1, last_timeout = 1 })" }
        w.a[what](w.a)
        w.b[what](w.b)
        local call = w.alice:call(uri)
        net:run(1)
        local list = words(call)
        assert.equal("failed 1 " .. cause, list[3])
        assert.equal("failed 2 " .. cause, list[6])
        assert.matches("^relay %l+ attempts$", list[7])
        assert.equal("reply 500", list[#list])
        assert.is_true(why.of(net, call.id).failed)
      end)
    end

    it("that rang too long, or got no further than 100", function()
      open { servers = 1, handler =
        "return req:relay(pbx, { ring_timeout = 5, progress_timeout = 3 })" }
      w.a:ring(100)
      local call = w.alice:call(uri)
      assert.equal(408, call.code)
      local answer = why.steps(why.of(net, call.id), "answer")[1]
      assert.equal(408, answer.code)
      assert.is_true(answer.is_local)
      w.a:answer("INVITE", 100)
      call = w.alice:call(uri)
      net:run(1)
      assert.equal("no_progress", why.steps(why.of(net, call.id), "failed")[1].cause)
    end)

    it("that was redirected or forked: each branch, and those given up", function()
      open { handler = [[
        local res = req:fork({ a, b })
        if res then return res:forward() end
        return req:reply(480)
      ]] }
      w.a:ring(20)
      w.b:ring(1)
      local call = w.alice:call(uri)
      net:run(1)
      assert.equal(200, call.code)
      local list = table.concat(words(call), "\n")
      assert.matches("attempt pbx/a 1\nattempt pbx/b 2", list, 1, true)
      assert.matches("answer 2 200", list, 1, true)
      assert.matches("abandoned 1", list, 1, true)
      local attempts = why.steps(why.of(net, call.id), "attempt")
      assert.equal(attempts[1].group, attempts[2].group)
    end)

    it("that its caller cancelled", function()
      open {}
      w.a:ring()
      local call = w.alice:invite(uri)
      net:run(2)
      w.alice:cancel(call)
      net:run(1)
      assert.equal(487, call.code)
      local list = table.concat(words(call), "\n")
      assert.matches("cancel\ncancelling 1\nanswer 1 487\nreply 487", list, 1, true)
      assert.is_nil(why.of(net, call.id).failed)
      assert.is_nil(why.of(net, call.id).at)
    end)

    it("that its script failed, with the line", function()
      open { handler = "local x = nil\nreturn x.y" }
      local call = w.alice:call(uri)
      net:run(1)
      local record = why.of(net, call.id)
      assert.matches("^script.lua:%d+: attempt to index", record.error)
      assert.is_true(record.failed)
      assert.equal(500, record.code)
      net:finish { errors = 1 }
    end)

    it("that its script dropped, refused, or gave up with a word", function()
      open { handler = [[
        if req.method == "MESSAGE" then return req:drop "spam" end
        if req.method == "INFO" then return req:reply(603, "No") end
        return nil, "full"
      ]] }
      local dropped = w.alice:request("MESSAGE", uri)
      net:run(1)
      local record = why.of(net, dropped.id)
      assert.equal("verb drop", why.words(record)[2])
      assert.equal("withheld", why.words(record)[3])
      assert.equal("script.lua:13", record.at)
      assert.is_true(record.failed)
      record = why.of(net, w.alice:ask("INFO", uri).id)
      assert.equal("reply", record.verb)
      assert.equal("script.lua:14", record.at)
      assert.is_nil(record.failed)
      record = why.of(net, w.alice:ask("PUBLISH", uri).id)
      assert.equal("returned full", why.words(record)[2])
      assert.is_true(record.failed)
    end)

    it("that answers a final which is no reason to try another", function()
      open {}
      w.a:answer("INVITE", 500)
      local call = w.alice:call(uri)
      net:run(1)
      local relay = why.steps(why.of(net, call.id), "relay")[1]
      assert.equal("final", relay.rule)
      assert.equal(500, relay.code)
    end)

    it("that ran out of time, or of candidates", function()
      open { servers = 2, handler = [[
        return req:relay(pbx, { attempts = 5, timeout = 2, last_timeout = 2,
          budget = req.method == "INVITE" and 60 or 3 })
      ]] }
      w.a:silence()
      w.b:silence()
      local call = w.alice:call(uri)
      net:run(1)
      assert.equal("candidates", why.steps(why.of(net, call.id), "relay")[1].rule)
      call = w.alice:ask("MESSAGE", uri)
      net:run(1)
      local rule = why.steps(why.of(net, call.id), "relay")[1].rule
      assert.is_true(rule == "budget" or rule == "candidates")
    end)
  end)

  describe("of requests within calls", function()
    it("is there too, newest first", function()
      open {}
      local call = w.alice:call(uri)
      w.alice:reinvite(call):wait()
      w.alice:bye(call):wait()
      net:run(1)
      local methods = {}
      for i, record in ipairs(why.all(net, { call_id = call.id })) do
        methods[i] = record.method .. " " .. record.kind
      end
      assert.same({ "BYE in_dialog", "INVITE in_dialog", "INVITE initial" }, methods)
      assert.same({ "attempt pbx/a 1", "answer 1 200", "reply 200" }, words(call, "BYE"))
    end)
  end)

  describe("of a request that is open", function()
    it("says how far it is", function()
      open {}
      w.a:ring()
      local call = w.alice:invite(uri)
      net:run(5)
      local record = why.of(net, call.id)
      assert.is_true(record.open)
      assert.near(5, record.total, 0.1)
      assert.equal(0, record.code)
      assert.equal("reply 180", words(call)[4])
      w.alice:cancel(call)
      net:run(1)
      assert.is_nil(why.of(net, call.id).open)
    end)

    it("is in the list of calls, with its state and age", function()
      open { handler = "sip.sleep(1) return req:relay(pbx)" }
      w.a:answer("INVITE", 200, nil, 10)
      local call = w.alice:invite "sip:bob:geheim@example.com"
      local function find()
        for worker = 1, workers do
          local answer = net.nodes[1]:ask("calls", nil, worker)
          if answer.total > 0 then
            return answer.requests[1], answer
          end
        end
      end
      net:run(0.5)
      assert.equal("deciding", find().state)
      net:run(1)
      local found, answer = find()
      assert.equal(call.id, found.call_id)
      assert.equal("INVITE", found.method)
      assert.equal("sip:bob:******@example.com", found.uri)
      assert.equal("trying", found.state)
      assert.equal("192.0.2.7:5060;transport=udp", found.from)
      assert.near(1.5, found.age, 0.01)
      assert.equal("pbx/a:-:0.00", found.tried)
      assert.same({ { pool = "pbx", server = "a", calls = 0, inflight = 1 } }, answer.servers)
      w.a:ring()
      net:run(15)
      assert.is_nil(find())
      w.alice:bye(call)
      net:run(1)
    end)

    it("is not listed without end", function()
      open {}
      w.a:ring()
      local calls = {}
      for i = 1, 5 do
        calls[i] = w.alice:invite(uri, { call_id = "same-worker" .. i })
      end
      net:run(1)
      local shown, total = 0, 0
      for worker = 1, workers do
        local answer = net.nodes[1]:ask("calls", { last = 1 }, worker)
        shown, total = shown + #answer.requests, total + answer.total
      end
      assert.is_true(shown <= workers)
      assert.equal(5, total)
      for _, call in ipairs(calls) do
        w.alice:cancel(call)
      end
      net:run(1)
    end)
  end)

  describe("of what the core refuses", function()
    local function refused(call_id)
      local record = why.of(net, call_id)
      assert.is_true(record.refused)
      assert.is_true(record.failed)
      assert.equal("192.0.2.7:5060;transport=udp", record.from)
      return why.words(record)[2]
    end

    it("names code and rule", function()
      open { source = [[
        local sip = require "tandem"
        sip.listen { "udp:0.0.0.0:5060" }
        local pbx = sip.pool("pbx", { servers = { { name = "a", uri = "sip:10.0.0.1" } } })
        sip.route("INVITE", function(req) return req:relay(pbx) end)
      ]] }
      policy.send(w.alice, "MESSAGE", uri, { call_id = "no-route" })
      policy.send(w.alice, "BYE", uri, { call_id = "no-dialog", to_tag = "x" })
      policy.send(w.alice, "INVITE", uri, { call_id = "foreign", route = { "<sip:1.2.3.4;lr>" } })
      policy.send(w.alice, "INVITE", "http://example.com", { call_id = "scheme" })
      policy.send(w.alice, "INVITE", 'sip:"<b>@example.com', { call_id = "not-valid" })
      net:run(1)
      assert.equal("refused 405", refused "no-route")
      assert.matches("^refused 481", refused "no-dialog")
      assert.equal("refused 403 Route Not Allowed", refused "foreign")
      assert.matches("^refused 416", refused "scheme")
      assert.equal("refused 400 Bad Request-URI", refused "not-valid")
    end)

    it("does not push out calls, however much of it there is", function()
      open { before = "sip.settings { why_memory = 262144 }" }
      local call = w.alice:call(uri)
      w.alice:bye(call):wait()
      for i = 1, 3000 do
        policy.send(w.alice, "BYE", uri, { call_id = "rubbish" .. i, to_tag = "x" })
        if i % 100 == 0 then
          net:run(0.1)
        end
      end
      net:run(5)
      assert.equal("INVITE", why.of(net, call.id, "INVITE").method)
      assert.equal("rubbish3000", why.of(net, "rubbish3000").call_id)
      assert.same({}, why.all(net, { call_id = "rubbish1" }))
    end)
  end)

  describe("of a 2xx that comes late", function()
    it("says that it was ended", function()
      open { servers = 1, handler = "return req:relay(pbx, { last_timeout = 2 })" }
      w.a:answer("INVITE", 200, nil, 5)
      local call = w.alice:call(uri)
      assert.equal(500, call.code)
      net:run(40)
      local late = why.all(net, { call_id = call.id })
      local found
      for _, record in ipairs(late) do
        found = found or record.late
      end
      assert.equal("ended", found)
    end)

    it("says that it went up", function()
      open { servers = 1, before = [[sip.settings { late_answer = "forward" }]],
        handler = "return req:relay(pbx, { last_timeout = 2 })" }
      w.a:answer("INVITE", 200, nil, 5)
      local call = w.alice:call(uri)
      net:run(40)
      local found
      for _, record in ipairs(why.all(net, { call_id = call.id })) do
        found = found or record.late
      end
      assert.equal("forwarded", found)
    end)
  end)

  describe("keeps", function()
    it("the last ones, and those that failed", function()
      open {}
      for _ = 1, 3 do
        w.alice:ask("MESSAGE", uri)
      end
      w.a:answer("MESSAGE", 404)
      local bad = w.alice:ask("MESSAGE", uri).id
      w.a:answer("MESSAGE", 401)
      w.alice:ask("MESSAGE", uri)
      net:run(1)
      local ids = {}
      for _, record in ipairs(why.all(net, { last = 10, failed = true })) do
        ids[#ids + 1] = record.call_id
      end
      assert.same({ bad }, ids)
      assert.equal(5, #why.all(net, { last = 10 }))
      assert.is_true(#why.all(net, { last = 1 }) <= workers)
    end)

    it("no more than its memory, old ones go first", function()
      open { before = "sip.settings { why_memory = 262144 }" }
      local first, last
      for _ = 1, 1500 do
        local id = w.alice:ask("MESSAGE", uri).id
        first, last = first or id, id
      end
      assert.same({}, why.all(net, { call_id = first }))
      assert.equal(200, why.of(net, last).code)
    end)

    it("nothing when it is turned off, and what was there goes", function()
      open {}
      local before = w.alice:ask("MESSAGE", uri).id
      net:run(1)
      assert.equal(200, why.of(net, before).code)
      net:reload { source = policy.script { before = "sip.settings { why_memory = false }" } }
      local after = w.alice:ask("MESSAGE", uri).id
      net:run(1)
      assert.same({}, why.all(net, { call_id = after }))
    end)

    it("what came before a reload, and what is open during one", function()
      open {}
      local before = w.alice:ask("MESSAGE", uri).id
      w.a:ring()
      local call = w.alice:invite(uri)
      net:run(1)
      net:reload { source = policy.script { handler = "\n\nreturn req:relay(pbx)" } }
      assert.equal(200, why.of(net, before).code)
      assert.is_true(why.of(net, call.id).open)
      w.alice:cancel(call)
      net:run(1)
      assert.equal("reply 487", words(call)[#words(call)])
      assert.equal("script.lua:15", why.of(net, w.alice:ask("MESSAGE", uri).id).at)
    end)

    it("wants a question that makes sense", function()
      open {}
      local node = net.nodes[1]
      for args, text in pairs {
        [{ last = 0 }] = "why: last: a number from 1 to 100 expected",
        [{ last = "x" }] = "why: last: a number from 1 to 100 expected",
        [{ call_id = 7 }] = "why: call_id: a string expected",
      } do
        local value, reason = node:ask("why", args)
        assert.is_nil(value)
        assert.equal(text, reason)
      end
      local value, reason = node:ask("calls", { last = -1 })
      assert.is_nil(value)
      assert.equal("calls: last: a number from 1 to 1000 expected", reason)
    end)
  end)

  describe("in the log", function()
    it("names the line that decided", function()
      open {}
      w.alice:call(uri)
      net:run(1)
      local call = w.alice:call(uri)
      w.alice:bye(call):wait()
      net:run(1)
      assert.equal(2, net:count("request", { method = "INVITE", at = "script.lua:13" }))
      for _, event in ipairs(net.events) do
        if event.event == "request" and event.method == "BYE" then
          assert.is_nil(event.at)
        end
      end
    end)

    it("has all of it for who watches", function()
      open { before = [[sip.settings { trace = { hep = "udp:192.0.2.9:9060" } }]] }
      w.a:refuse()
      w.alice:call(uri)
      net:run(1)
      local found
      for _, event in ipairs(net.events) do
        found = event.event == "request.why" and event.steps or found
      end
      assert.matches("0.000 received INVITE sip:bob@example.com", found, 1, true)
      assert.matches("failed 1 icmp_port; ", found, 1, true)
      assert.matches("verb forward script.lua:13", found, 1, true)
    end)
  end)
end)
