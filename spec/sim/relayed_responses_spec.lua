-- Responses to requests that another node has forwarded (semantics 19, 20): the branch of
-- our Via says whose they are, and a MAC that it is so.
local sim = require "support.sim"
local takeover = require "support.takeover"
local wire = require "support.wire"
local ipairs, math, table = ipairs, math, table

local uri = takeover.uri

sim.for_workers("a response to what a dead node forwarded", function(workers)
  after_each(sim.finish)

  local w

  local function open(opts)
    opts = opts or {}
    opts.workers = workers
    w = takeover.open(opts)
  end

  -- A request of alice's that node one has forwarded to a, which says nothing yet; then
  -- the other node has the address. What a was sent.
  local function forwarded(method, opts)
    w.a:silence()
    local asked = w.alice:request(method or "INVITE", uri, opts)
    w.net:run(0.01)
    w:die()
    w.a:resume()
    return asked, w.a:got(method or "INVITE")[1]
  end

  -- A response as a writes it. `change(lines)` may do what it likes with the lines, which
  -- are those of Via, From, To, Call-ID and CSeq.
  local function response(request, code, change)
    local lines = {}
    for _, via in ipairs(request:list "Via") do
      lines[#lines + 1] = "Via: " .. via
    end
    for _, route in ipairs(request:list "Record-Route") do
      lines[#lines + 1] = "Record-Route: " .. route
    end
    lines[#lines + 1] = "From: " .. request:header "From"
    lines[#lines + 1] = "To: " .. request:header "To" .. (code > 100 and ";tag=answer" or "")
    lines[#lines + 1] = "Call-ID: " .. request.call_id
    lines[#lines + 1] = "CSeq: " .. request:header "CSeq"
    lines[#lines + 1] = "Contact: <sip:a@10.0.0.1>"
    lines[#lines + 1] = "Content-Length: 0"
    if change then
      change(lines)
    end
    return ("SIP/2.0 %d Whatever\r\n%s\r\n\r\n"):format(code, table.concat(lines, "\r\n"))
  end

  local function answer(request, code, change)
    w.a:send(response(request, code, change), w.vip)
    w.net:run(0.01)
  end

  -- What the second node has sent, since then.
  local function left(since)
    return table.concat(w:sent_by(w.two, since), ", ")
  end

  describe("to an INVITE:", function()
    it("180 and 183 go up, and 100 does not", function()
      open()
      local call, invite = forwarded()
      answer(invite, 100)
      assert.equal("", left())
      answer(invite, 180)
      answer(invite, 183)
      assert.same({ 180, 183 }, call.provisionals)
      assert.equal("180 alice, 183 alice", left())
      local via = w.alice:got(180)[1]:list "Via"
      assert.equal(1, #via)
      assert.equal(call.tx.branch, w.alice:got(180)[1].branch)
    end)

    it("a 2xx goes up, as often as the server sends it, and is acknowledged", function()
      open()
      local call, invite = forwarded(nil, { ack = false })
      answer(invite, 200)
      answer(invite, 200)
      assert.equal(2, #w.alice:got(200))
      assert.equal(200, call.code)
      w.alice:ack(call)
      w.net:run(0.1)
      assert.equal("200 alice, 200 alice, ACK a", left())
      assert.equal(1, #w.a:got "ACK")
    end)

    it("a 2xx is its caller's, also when somebody else sends the same INVITE here", function()
      open()
      local call, invite = forwarded()
      w.a:silence()
      w.alice:silence()
      w.carol:send(w.net:packets()[1].bytes, w.vip)
      w.net:run(0.01)
      w.alice:resume()
      answer(invite, 200)
      assert.equal(200, call.code)
      assert.same({}, w.carol:got(200))
      assert.equal(2, #wire.branches(w.a:got "INVITE"))
    end)

    it("with headers and body as they were", function()
      open()
      local _, invite = forwarded(nil, { ack = false })
      local odd = "X-Odd:  a ,b\r\n\tc"
      answer(invite, 200, function(lines) lines[#lines + 1] = odd end)
      local got = w.alice:got(200)[1].bytes
      local sent = response(invite, 200, function(lines) lines[#lines + 1] = odd end)
      assert.equal((sent:gsub("Via: [^\r]*\r\n", "", 1)), got)
    end)

    for _, code in ipairs { 302, 404, 407, 486, 500, 503, 603 } do
      it(code .. " goes up, and is acknowledged for the dead one", function()
        open()
        local call, invite = forwarded()
        local since = w.net.now
        answer(invite, code)
        w.net:run(0.1)
        -- 16.7 step 6: a 503 says that the proxy can serve nobody.
        assert.equal(code == 503 and 500 or code, call.code)
        local acks = w.a:got "ACK"
        assert.equal(1, #acks)
        local ack = acks[1]
        assert.equal(invite.branch, ack.branch)
        assert.equal(invite.uri, ack.uri)
        assert.equal(invite:header "From", ack:header "From")
        assert.equal(invite:header "To" .. ";tag=answer", ack:header "To")
        assert.equal(invite.call_id, ack.call_id)
        assert.equal(invite.cseq .. " ACK", ack:header "CSeq")
        assert.equal(1, #ack:list "Via")
        assert.equal(w.vip .. ":5060", ack.source)
        assert.equal(invite:header "Max-Forwards" and "70", ack:header "Max-Forwards")
        assert.same({ "ACK a", ("%d alice"):format(call.code) }, (function()
          local list = w:sent_by(w.two, since)
          table.sort(list, function(x, y) return x > y end)
          return list
        end)())
      end)
    end

    it("a refusal is acknowledged also when its To can be no Request-URI", function()
      for _, to in ipairs { uri .. "?Subject=x", "sip:" .. ("b"):rep(1200) .. "@example.com" } do
        open()
        local _, invite = forwarded(nil, { to = to })
        answer(invite, 486)
        assert.equal(1, #w.alice:got(486))
        assert.equal(1, #w.a:got "ACK")
        assert.equal(invite:header "To" .. ";tag=answer", w.a:got("ACK")[1]:header "To")
        assert.equal(0, w:dropped "no_memory")
        w.net:finish()
      end
    end)

    it("a refusal that the server repeats is acknowledged again, and goes up no more", function()
      open()
      local _, invite = forwarded()
      for _ = 1, 3 do
        answer(invite, 486)
      end
      w.net:run(1)
      assert.equal(1, #w.alice:got(486))
      assert.equal(3, #w.a:got "ACK")
    end)

    it("a refusal is repeated to a caller who does not acknowledge it", function()
      open()
      local call, invite = forwarded(nil, { ack = false })
      local at = w.net.now
      answer(invite, 486)
      w.net:run(8)
      assert.equal(486, call.code)
      assert.same({ 0.002, 0.502, 1.502, 3.502, 7.502 }, wire.times(w.alice:got(486), at))
      assert.equal(1, #w.a:got "ACK")
    end)

    it("its ACK by the caller ends that, and goes no further", function()
      open()
      local _, invite = forwarded()
      answer(invite, 486)
      w.net:run(40)
      assert.equal(1, #w.alice:got(486))
      assert.equal(1, #w.a:got "ACK")
    end)

    it("the caller's repetition of the INVITE meets the refusal, and nobody else", function()
      open()
      local call, invite = forwarded(nil, { ack = false })
      answer(invite, 486)
      assert.equal(486, call.code)
      for _ = 1, 2 do
        w.alice:send(call.tx.bytes, w.vip)
        w.net:run(0.01)
      end
      assert.equal(1, #w.a:got "INVITE")
      assert.equal(3, #w.alice:got(486))
      assert.equal(1, w:transactions "INVITE")
    end)

    it("1xx and 2xx of a fork's branches all find the caller", function()
      open { handler = [[function(req)
        local res = req:fork(pbx.servers)
        return res and res:forward() or req:reply(500)
      end]] }
      w.a:ring(1)
      w.b:ring(3)
      local call = w.alice:invite(uri)
      w.net:run(0.5)
      assert.same({ 100, 180, 180 }, call.provisionals)
      w:die()
      call:wait()
      assert.equal("a", call.server)
      w.net:run(5)
      -- Nobody is left who would cancel b: its 2xx comes up too, and the caller ends it.
      assert.equal(1, call.extra)
      assert.equal(1, #w.b:got "BYE")
      assert.equal(0, w.a.unacked + w.b.unacked)
    end)
  end)

  describe("to another request:", function()
    for _, method in ipairs { "REGISTER", "OPTIONS", "MESSAGE", "SUBSCRIBE" } do
      it("a final of " .. method .. " goes up", function()
        open()
        local asked, request = forwarded(method)
        answer(request, 200)
        assert.equal(200, asked.code)
        assert.equal("200 alice", left())
      end)
    end

    it("a refusal too, and it is acknowledged by nobody", function()
      open()
      local asked, request = forwarded "REGISTER"
      answer(request, 403)
      assert.equal(403, asked.code)
      assert.equal("403 alice", left())
      assert.same({}, w.a:got "ACK")
    end)

    it("a 408 does not (RFC 4320), nor a 100", function()
      open()
      local _, request = forwarded "REGISTER"
      answer(request, 100)
      answer(request, 408)
      assert.equal("", left())
    end)
  end)

  it("over IPv6", function()
    open { v6 = true }
    local call = w.alice:invite(uri)
    w.a:ring(1)
    w.net:run(0.1)
    w:die()
    call:wait()
    assert.equal(200, call.code)
    w.alice:bye(call)
    w.net:run(1)
  end)

  it("from a server of TCP: the node connects anew, and the server finds it there", function()
    open { to = "tcp" }
    w.a:ring(1)
    local call = w.alice:invite(uri)
    w.net:run(0.1)
    w:die()
    call:wait(40)
    assert.equal(200, call.code)
    w.net:run(0.1)
    assert.equal(1, #w.a:got "ACK")
    w.alice:bye(call)
    w.net:run(1)
  end)

  it("for a caller of TCP who can be connected to: at the port of his Via", function()
    open { from = "tcp" }
    w.a:ring(1)
    local call = w.alice:invite(uri)
    w.net:run(0.3)
    w:die()
    w.net:run(3)
    assert.equal(200, call.code)
    w.net:run(0.1)
    assert.equal(1, #w.a:got "ACK")
  end)

  -- A spiral: both Vias are of the cluster, and where the response goes first is a node.
  for _, by in ipairs { "10.0.0.200", "10.0.0.102" } do
    for _, code in ipairs { 200, 486 } do
      it(("%d of a call that went by %s, a node, once more"):format(code, by), function()
        open {
          before = ([[sip.settings {
            nodes = { "10.0.0.101", "10.0.0.102" }, domains = { "%s" },
          }]]):format(by),
          handler = ([[function(req)
            if req.ruri.user == "bob" then return req:relay "sip:eve@%s" end
            return req:relay(pbx)
          end]]):format(by),
        }
        w.a:on("INVITE", function(_, reply)
          reply(180)
          w.a:after(2, function() reply(code) end)
        end)
        local call = w.alice:invite(uri)
        w.net:run(1)
        w:die()
        w.net:run(5)
        assert.equal(code, call.code)
        assert.equal(1, #w.a:got "ACK")
        assert.equal(0, call.extra)
        w.net:run(40)
        assert.equal(0, w.a.unacked)
      end)
    end
  end

  describe("with nodes that know of each other,", function()
    -- The dead one may be alive: it is handed what it may wait for, and a refusal goes up
    -- only when it comes again. Over a connection nothing does.
    for _, to in ipairs { "udp", "tcp" } do
      for _, from in ipairs { "udp", "tcp" } do
        for _, method in ipairs { "INVITE", "REGISTER" } do
          it(("a refusal of %s from a server of %s to a caller of %s"):format(method,
            to, from), function()
            open { from = from, to = to, nodes = true }
            w.a:answer(method, 403, 1)
            local asked = w.alice:request(method, uri)
            w.net:run(0.95)
            w:die()
            w.a:reset() -- it has noticed
            w.net:run(4)
            assert.equal(403, asked.code)
            assert.equal(0, w.a.unacked)
            assert.equal(1, w:transactions(method))
          end)
        end
      end
    end
  end)

  it("and many refusals at once, with such nodes: none waits for ever", function()
    open { nodes = true }
    w.a:ring()
    local calls = {}
    for i = 1, 300 do
      calls[i] = w.alice:invite(uri)
    end
    w.net:run(0.1) -- she repeats none of them any more
    local invites = w.a:got "INVITE"
    w:die()
    for _, invite in ipairs(invites) do
      for _, after in ipairs { 0, 0.5, 1.5 } do -- nobody acknowledges the first
        w.net:after(after, function()
          w.a:send(response(invite, 486), w.vip)
        end)
      end
    end
    w.net:run(1.6)
    for i, call in ipairs(calls) do
      assert.equal(486, call.code, i)
    end
    assert.same({}, w.b.received)
  end)

  describe("with stateless_relay", function()
    local function count()
      return w.two:metric "tandem_dropped_total"
    end

    it('"invite": only what answers an INVITE', function()
      open { before = 'sip.settings { stateless_relay = "invite" }' }
      local call, invite = forwarded()
      answer(invite, 200)
      assert.equal(200, call.code)
    end)

    it('"invite": nothing else, and that is counted', function()
      open { before = 'sip.settings { stateless_relay = "invite" }' }
      local _, request = forwarded "OPTIONS"
      local before = count()
      answer(request, 200)
      assert.equal("", left())
      assert.equal(before + 1, count())
    end)

    for _, method in ipairs { "INVITE", "OPTIONS" } do
      it("false: nothing, and that is counted: " .. method, function()
        open { before = "sip.settings { stateless_relay = false }" }
        local _, request = forwarded(method)
        local before = count()
        answer(request, 180)
        answer(request, 486)
        assert.equal("", left())
        assert.equal(before + 2, count())
      end)
    end
  end)

  describe("that is forged goes nowhere, and is counted:", function()
    local function replace(pattern, by)
      return function(lines)
        local n = 0
        for i, line in ipairs(lines) do
          local new, times = line:gsub(pattern, by, 1)
          if times > 0 and n == 0 then
            lines[i] = new
            n = 1
          end
        end
        assert(n == 1, "there was nothing to forge")
      end
    end

    -- In the line of the second Via.
    local function below(pattern, by)
      return function(lines)
        local new, n = lines[2]:gsub(pattern, by, 1)
        assert(n == 1, lines[2])
        lines[2] = new
      end
    end

    local function flip(digit)
      return digit == "0" and "1" or "0"
    end

    local forgeries = {
      { "the MAC", replace("(branch=z9hG4bK[%x]*)(%x)", function(head, last)
        return head .. flip(last)
      end) },
      { "the target's hash", replace("(branch=z9hG4bK%x%x%x)(%x)", function(head, digit)
        return head .. flip(digit)
      end) },
      { "the loop hash", replace("(branch=z9hG4bK" .. ("%x"):rep(19) .. ")(%x)",
        function(head, digit) return head .. flip(digit) end) },
      { "the worker", replace("(branch=z9hG4bK1)(%x)", function(head, digit)
        return head .. flip(digit)
      end) },
      { "the version", replace("branch=z9hG4bK1", "branch=z9hG4bK2") },
      { "the Call-ID", replace("^Call%-ID: ", "Call-ID: x") },
      { "the CSeq number", replace("^CSeq: %d+", "CSeq: 7") },
      { "the From tag", replace("^(From: .*;tag=)", "%1x") },
      { "the branch of the caller", below("branch=", "branch=x") },
      { "the caller's sent-by", below("192%.0%.2%.7:5060;", "203.0.113.9:5060;") },
      { "the caller's port", below("192%.0%.2%.7:5060;", "192.0.2.7:5090;") },
      { "where the caller is", below("received=192%.0%.2%.7", "received=203.0.113.9") },
      { "the port the caller is at", below("rport=5060", "rport=5090") },
      { "no received", below(";received=[^;]*", "") },
      { "no Via of a caller", function(lines) table.remove(lines, 2) end },
      { "a Via between", function(lines)
        table.insert(lines, 2, "Via: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKx;received="
          .. "203.0.113.9;rport=5060")
      end },
      { "the top Via is somebody else's", replace("10%.0%.0%.200:5060", "10.0.0.201:5060") },
    }

    for _, method in ipairs { "INVITE", "OPTIONS" } do
      it("anything of what the branch vouches for, in answers to " .. method, function()
        open()
        local victim = w.net:uac("203.0.113.9", "victim")
        w.a:silence()
        for i = 1, #forgeries do
          w.alice:request(method, uri, { ack = false, call_id = "forged-" .. i })
        end
        w.net:run(0.01)
        w:die()
        w.a:resume()
        w.alice:silence() -- she repeats nothing
        for _, request in ipairs(w.a:got(method)) do
          local i = math.tointeger(request.call_id:match "%d+$")
          local before = w.two:metric "tandem_dropped_total"
          for _, code in ipairs { 180, 200, 486 } do
            answer(request, code, forgeries[i][2])
          end
          assert.equal("", left(), forgeries[i][1])
          assert.equal(before + 3, w.two:metric "tandem_dropped_total", forgeries[i][1])
        end
        assert.same({}, victim.received)
        -- And none of it is in the way of the true one.
        answer(w.a:got(method)[1], 200)
        assert.equal("200 alice", left())
      end)
    end

    it("with the key of another cluster", function()
      open()
      local stranger = w.net:node { addr = "10.0.0.103", key = "fedcba9876543210" }
      w.a:silence()
      w.alice:invite(uri)
      w.net:run(0.01)
      w.one:power_off()
      stranger:take(w.vip)
      local before = stranger:metric "tandem_dropped_total"
      w.a:resume()
      answer(w.a:got("INVITE")[1], 200)
      assert.same({}, w:sent_by(stranger))
      assert.equal(before + 1, stranger:metric "tandem_dropped_total")
    end)
  end)
end)
