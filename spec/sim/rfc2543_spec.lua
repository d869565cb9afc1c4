-- Requests of RFC 2543 elements, whose branch is none or no identifier: RFC 3261
-- 17.2.3, checklist 35.
local sim = require "support.sim"
local wire = require "support.wire"

-- A request as such an element writes it; `fields` replace what is here.
local function old(fields)
  fields = fields or {}
  local function of(name, default)
    return fields[name] or default
  end
  local method = of("method", "INVITE")
  return wire.bytes(table.concat({
    method .. " " .. of("uri", "sip:bob@example.com") .. " SIP/2.0",
    "Via: " .. of("via", "SIP/2.0/UDP 192.0.2.7:5060"),
    "From: <sip:alice@192.0.2.7>;tag=" .. of("from_tag", "1"),
    "To: <sip:bob@example.com>" .. of("to", ""),
    "Call-ID: " .. of("call_id", "old@192.0.2.7"),
    ("CSeq: %d %s"):format(of("cseq", 1), of("cseq_method", method)),
    "Contact: <sip:alice@192.0.2.7>",
    "Content-Length: 0",
  }, "\n"))
end

sim.for_workers("a request without an identifying branch", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  local function open(handler)
    net, a, b, alice = wire.world { handler = handler or wire.single, workers = workers }
  end

  local function send(fields)
    alice:send(old(fields))
    net:run(0.01)
  end

  local function to_of(code)
    return (alice:got(code)[1]:header "To"):match ";tag=.*$"
  end

  for name, via in pairs {
    ["no branch"] = "SIP/2.0/UDP 192.0.2.7:5060",
    ["a branch of its own kind"] = "SIP/2.0/UDP 192.0.2.7:5060;branch=1",
    ["the cookie and no more (RFC 4475 3.1.2.10)"] =
      "SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK",
  } do
    it("is served, with " .. name, function()
      open()
      send { via = via }
      net:run(1)
      assert.equal("INVITE", wire.names(a.received))
      assert.equal("200", wire.names { alice.received[1] })
      assert.equal(via, alice.received[1]:list("Via")[1]:gsub(";received=.*", ""))
      send { via = via, method = "ACK", to = to_of(200), uri = "sip:a@10.0.0.1" }
      net:run(40)
      assert.equal(0, a.unacked)
    end)
  end

  it("has its retransmissions absorbed", function()
    open("sip.log.info 'run' " .. wire.single)
    a:ring(2)
    send()
    send()
    net:run(1)
    send()
    assert.equal("INVITE", wire.names(a.received))
    assert.equal("100 180 180 180", wire.names(alice.received))
    assert.equal(1, wire.said(net, "run"))
    net:run(1)
    send { method = "ACK", to = to_of(200), uri = "sip:a@10.0.0.1" }
    net:run(1)
    assert.equal("INVITE ACK", wire.names(a.received))
  end)

  it("is another one when anything 17.2.3 names differs", function()
    open "sip.log.info 'run' return req:reply(486)"
    for i, fields in ipairs {
      {}, { uri = "sip:carol@example.com" }, { from_tag = "2" }, { call_id = "other" },
      { cseq = 2 }, { via = "SIP/2.0/UDP 192.0.2.7:5060;x=y" },
    } do
      send(fields)
      send(fields)
      assert.equal(i, wire.said(net, "run"))
    end
  end)

  it("has the ACK of a refusal recognised by the To tag of that (17.2.3)", function()
    open "return req:reply(486)"
    send()
    send { method = "ACK", to = ";tag=another" }
    net:run(1)
    assert.equal(2, #alice:got(486), "not this one's")
    send { method = "ACK", to = to_of(486) }
    net:run(40)
    assert.equal(2, #alice:got(486))
    assert.same({}, a.received)
  end)

  it("is cancelled by a CANCEL that is the same but for the method (9.2)", function()
    open()
    a:ring()
    send()
    net:run(1)
    send { method = "CANCEL" }
    net:run(1)
    assert.equal("100 180 200 487", wire.names(alice.received):sub(1, 15))
    assert.equal("INVITE CANCEL ACK", wire.names(a.received))
    send { method = "ACK", to = to_of(487) }
  end)

  it("is not cancelled by one with another Call-ID", function()
    open()
    a:ring(3)
    send()
    send { method = "CANCEL", call_id = "other" }
    assert.equal(1, #alice:got(481))
    -- It may be for an INVITE of another node, which the server does not know either.
    assert.equal("INVITE CANCEL", wire.names(a.received))
    net:run(4)
    send { method = "ACK", to = to_of(200), uri = "sip:a@10.0.0.1" }
  end)

  it("gets identifying branches downstream, one for each attempt", function()
    open(wire.failover)
    a:silence()
    b:answer("INVITE", 486)
    send()
    net:run(3)
    local first, second = a:got("INVITE")[1].branch, b:got("INVITE")[1].branch
    assert.matches("^z9hG4bK", first)
    assert.matches("^z9hG4bK", second)
    assert.not_equal(first, second)
    send { method = "ACK", to = to_of(486) }
  end)

  it("that an old proxy forked is two calls: the Request-URI tells them apart", function()
    open()
    a:ring(1)
    send { uri = "sip:bob@10.0.0.50" }
    send { uri = "sip:bob@10.0.0.51" }
    net:run(0.1)
    assert.equal(2, #wire.branches(a:got "INVITE"))
    net:run(2)
    for _, answer in ipairs(alice:got(200)) do
      send { method = "ACK", uri = "sip:a@10.0.0.1", to = answer:header("To"):match ";tag=.*$" }
    end
    net:run(40)
    assert.equal(0, a.unacked)
  end)

  it("that is no INVITE is absorbed and answered again like any other", function()
    open("sip.log.info 'run' " .. wire.single)
    send { method = "OPTIONS" }
    send { method = "OPTIONS" }
    assert.equal("200 200", wire.names(alice.received))
    assert.equal(1, wire.said(net, "run"))
    assert.equal(1, #a:got "OPTIONS")
  end)

  it("is answered at the address it came from when the Via names another", function()
    open "return req:reply(404)"
    send { method = "OPTIONS", via = "SIP/2.0/UDP client.example.com" }
    assert.equal("404", wire.names(alice.received))
    assert.equal("SIP/2.0/UDP client.example.com;received=192.0.2.7;rport=5060",
      alice.received[1]:header "Via")
  end)

  -- The branch is a function of the request (semantics 19). If those that differ
  -- only in what RFC 2543 compares shared one, a flood of them would have to look
  -- for a free one longer and longer.
  it("leaves with the same branch from every node, whatever else is open", function()
    local function last_branch(marks)
      net, a, b, alice = wire.world { handler = wire.single, workers = workers,
        key = "0123456789abcdef" }
      a:silence()
      for _, mark in ipairs(marks) do
        send { via = "SIP/2.0/UDP 192.0.2.7:5060;x=" .. mark }
      end
      return a:got("INVITE")[#marks].branch
    end
    assert.equal(last_branch { "c" }, last_branch { "a", "b", "c" })
    assert.not_equal(last_branch { "c" }, last_branch { "b" })
  end)
end)
