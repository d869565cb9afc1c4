-- The Via of requests and responses that pass: checklist 34 and checklist 15, RFC 3261 16.6
-- step 8, 16.7 step 3, 18.1.2, 18.2.
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

sim.for_workers("Via", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  local function open(opts)
    opts = opts or {}
    opts.workers = workers
    net, a, b, alice = wire.world(opts)
  end

  -- The last thing a sent, with its bytes changed.
  local function last_of(server)
    local bytes
    for _, packet in ipairs(net:packets()) do
      bytes = packet.from == server.addr and packet.bytes or bytes
    end
    return bytes
  end

  local function dropped(reason)
    return net:metric("tandem_dropped_total", { reason = reason })
  end

  it("of a request has one more on top, ours; of a response one less", function()
    open { handler = wire.single }
    local call = alice:call(uri)
    local invite = a:got("INVITE")[1]
    local vias = invite:list "Via"
    assert.equal(2, #vias)
    assert.matches("^SIP/2.0/UDP 10.0.0.100:?5?0?6?0?;", vias[1])
    assert.matches("branch=" .. call.tx.branch, vias[2])
    assert.same({ vias[2] }, call.response:list "Via")
  end)

  it("of alice says where she really is (RFC 3581)", function()
    open { handler = wire.single }
    alice:call(uri, { via = "SIP/2.0/UDP 10.99.99.99:9;branch=z9hG4bKnat;rport",
      branch = "z9hG4bKnat" })
    local seen = a:got("INVITE")[1]:list("Via")[2]
    assert.matches(";received=192.0.2.7", seen)
    assert.matches(";rport=5060", seen)
    assert.equal(200, alice:got(200)[1].code)
  end)

  it("leaves a stack below alone", function()
    open { handler = wire.single }
    local stack = "SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKtop;rport, "
      .. "SIP/2.0/TCP [2001:db8::1]:5070;branch=z9hG4bKlow;x=\"a,b\";received=198.51.100.1"
    local call = alice:call(uri, { via = stack, branch = "z9hG4bKtop" })
    assert.equal('SIP/2.0/TCP [2001:db8::1]:5070;branch=z9hG4bKlow;x="a,b";received=198.51.100.1',
      a:got("INVITE")[1]:list("Via")[3])
    assert.equal(2, #call.response:list "Via")
  end)

  describe("and the identity of attempts (checklist 15)", function()
    it("has a branch of its own in each, all else is the same", function()
      open()
      a:answer("INVITE", 503)
      b:answer("INVITE", 486)
      local call = alice:call(uri)
      local first, second = a:got("INVITE")[1], b:got("INVITE")[1]
      assert.not_equal(first.branch, second.branch)
      for _, name in ipairs { "Call-ID", "From", "To", "CSeq", "Contact", "Max-Forwards",
        "Content-Type" } do
        assert.equal(first:header(name), second:header(name))
      end
      assert.equal(first.body, second.body)
      assert.equal(call.cseq, second.cseq)
      assert.equal(first:list("Via")[2], second:list("Via")[2])
    end)

    it("has another branch when the same server is tried again", function()
      open { handler = [[
        for _ = 1, 3 do
          local res = req:try(a)
          if res.code ~= 503 then return res:forward() end
        end
        return req:reply(500) ]] }
      a:answer("INVITE", 503)
      alice:call(uri)
      assert.equal(3, #a:got "INVITE")
      assert.equal(3, #wire.branches(a:got "INVITE"))
    end)

    it("has another branch also when the first attempt is forgotten here, not there", function()
      open { handler = [[
        req:try(a)
        sip.sleep(10) -- longer than Timer K, shorter than Timer J
        return req:try(a):forward() ]] }
      a:once("MESSAGE", 503)
      local message = alice:ask("MESSAGE", uri)
      assert.equal(200, message.code)
      assert.equal(2, #wire.branches(a:got "MESSAGE"))
    end)
  end)

  describe("of a response", function()
    it("need not come from where the request went (checklist 34)", function()
      open { handler = wire.single }
      local other = net:uas("10.0.0.77", "other")
      a:on("INVITE", function(request)
        other:send("SIP/2.0 486 Busy\r\nVia: " .. table.concat(request:list "Via", ", ")
          .. "\r\nFrom: " .. request:header "From" .. "\r\nTo: " .. request:header "To"
          .. ";tag=x\r\nCall-ID: " .. request.call_id .. "\r\nCSeq: 1 INVITE\r\n"
          .. "Content-Length: 0\r\n\r\n", net.proxy)
      end)
      local call = alice:call(uri)
      assert.equal(486, call.code)
      net:run(1)
      assert.equal("INVITE ACK", wire.names(a.received)) -- where the INVITE went (17.1.1.3)
      assert.same({}, other.received)
    end)

    local function answered_with(change)
      open { handler = wire.single }
      a:on("INVITE", function(_, reply)
        reply(100)
      end)
      local call = alice:invite(uri)
      net:run(0.1)
      alice.received = {}
      a:send((change(last_of(a):gsub("^SIP/2.0 100 Trying", "SIP/2.0 180 Ringing"))))
      net:run(0.1)
      local heard = wire.names(alice.received)
      a:on("INVITE", nil)
      alice:cancel(call)
      return heard
    end

    it("is ours in any case of letters and with more parameters", function()
      assert.equal("180", answered_with(function(bytes)
        return bytes:gsub("branch=z9hG4bK%x+", string.upper, 1)
          :gsub("BRANCH=", "x=1;branch=", 1)
      end))
    end)

    for name, case in pairs {
      ["another sent-by"] = { "via_not_ours", function(bytes)
        return (bytes:gsub("UDP 10%.0%.0%.100", "UDP 10.0.0.101", 1))
      end },
      ["another port"] = { "via_not_ours", function(bytes)
        return (bytes:gsub("UDP 10%.0%.0%.100[:%d]*", "UDP 10.0.0.100:5099", 1))
      end },
      ["another branch"] = { "forged_branch", function(bytes)
        return (bytes:gsub("branch=z9hG4bK%x%x%x%x", "branch=z9hG4bK1000", 1))
      end },
      ["no Via of ours at all"] = { "via_not_ours", function(bytes)
        return (bytes:gsub("Via: SIP/2.0/UDP 10%.0%.0%.100[^\r]*\r\n", "", 1))
      end },
    } do
      it("goes nowhere with " .. name .. ", and is counted", function()
        assert.equal("", answered_with(case[2]))
        assert.equal(1, dropped(case[1]))
      end)
    end

    -- Signed it is; but no 180 answers a MESSAGE, whichever node has sent that.
    it("goes nowhere with another method in CSeq, and is counted", function()
      assert.equal("", answered_with(function(bytes)
        return (bytes:gsub("1 INVITE", "1 MESSAGE", 1))
      end))
      assert.equal(1, net:metric("tandem_takeover_messages_total", { kind = "absorbed" }))
    end)

    it("goes nowhere when none is left below ours (16.7 step 3)", function()
      open { handler = wire.single }
      a:on("MESSAGE", function(request)
        a:send("SIP/2.0 200 OK\r\nVia: " .. request:list("Via")[1] .. "\r\nFrom: "
          .. request:header "From" .. "\r\nTo: " .. request:header "To" .. ";tag=x\r\n"
          .. "Call-ID: " .. request.call_id .. "\r\nCSeq: 1 MESSAGE\r\n"
          .. "Content-Length: 0\r\n\r\n", net.proxy)
      end)
      alice:request("MESSAGE", uri)
      net:run(3)
      assert.same({}, alice.garbage)
      assert.equal(0, #alice:got(200))
      a:on("MESSAGE", nil)
      net:run(40)
    end)
  end)
end)
