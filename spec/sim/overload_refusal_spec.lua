-- What somebody hears who is refused because there is too much, and what stays of that;
-- the bound of memory; and that our own slowness is nobody's failure.
local flood = require "support.flood"
local hep = require "support.hep"
local policy = require "support.policy"
local sim = require "support.sim"
local takeover = require "support.takeover"

local uri = "sip:bob@example.com"

local slow = { receive = 0.0005, send = 0.0005, request = 0.015 }

sim.for_workers("a refusal", function(workers)
  after_each(sim.finish)

  local w, net, load

  -- An overload, in which nothing that is late is accepted: each request has cost a second.
  local function open(settings)
    w = policy.world { workers = workers, servers = 1, before = settings }
    net, load = w.net, flood.new(w.net)
    net:run(1)
    net.nodes[1]:slow(slow)
  end

  local function shed(reason)
    return net:metric("tandem_overload_shed_total", { reason = reason })
  end

  local function refusals()
    local list = {}
    for _, call in ipairs(load.calls) do
      list[#list + 1] = call.code == 503 and call or nil
    end
    return list
  end

  it("says when to come back, not the same to all (20.33)", function()
    open()
    load:offer(200, 3)
    net:run(1)
    local seen, kinds = {}, 0
    for _, call in ipairs(refusals()) do
      local after = math.tointeger(tonumber(call.headers["Retry-After"]))
      assert.is_true(after >= 1 and after <= 9)
      kinds = kinds + (seen[after] and 0 or 1)
      seen[after] = true
    end
    assert.equal(9, kinds)
  end)

  it("says so as told, or not at all", function()
    open "sip.settings { overload = { retry_after = 1 } }"
    load:offer(200, 2)
    net:run(1)
    for _, call in ipairs(refusals()) do
      assert.equal("1", call.headers["Retry-After"])
    end
    net:reload { source = policy.script {
      servers = 1, before = "sip.settings { overload = { retry_after = false } }",
    } }
    local before = #refusals()
    load:offer(200, 2)
    net:run(1)
    assert.is_true(#refusals() > before + 50)
    local last = refusals()[#refusals()]
    assert.is_nil(last.headers["Retry-After"])
  end)

  it("keeps no state, and its ACK ends here (8.2.7)", function()
    open()
    load:offer(200, 3)
    net:run(1)
    assert.is_true(#refusals() > 100)
    assert.equal(0, net:metric("tandem_dropped_total", { reason = "stray_ack" }))
    assert.equal(0, net:metric("tandem_dropped_total", { reason = "unlocated_ack" }))
    for _, call in ipairs(refusals()) do
      assert.same({}, call.tried)
    end
  end)

  -- The bytes of the INVITE of a call, as its caller has sent them.
  local function invite_of(call)
    for _, packet in ipairs(net:packets()) do
      if packet.bytes:find("Call-ID: " .. call.id, 1, true)
        and packet.bytes:find "^INVITE" and not packet.node then
        return packet.bytes
      end
    end
  end

  local function caller_of(call)
    for i, made in ipairs(load.calls) do
      if made == call then
        return load.callers[i % #load.callers + 1]
      end
    end
  end

  it("is repeated as it was to who asks again, even when all is over", function()
    open()
    load:offer(200, 2)
    net:run(2)
    local call = refusals()[5]
    local caller = caller_of(call)
    local n, before = #caller.received, shed "repeated"
    caller:send(invite_of(call))
    net:run(0.5)
    assert.equal(before + 1, shed "repeated")
    local again = caller.received[n + 1]
    assert.equal(503, again.code)
    assert.equal(call.response.to_tag, again.to_tag)
    assert.equal(call.headers["Retry-After"], again:header "Retry-After")
    assert.equal(0, #w.a:got "INVITE" - #w.a:got "ACK")
  end)

  -- Most of what is refused is not read; whoever writes otherwise must not see a difference.
  it("is the same for whatever way a request is written", function()
    open()
    local caller = w.net:uac("udp:203.0.113.5", "raw")
    local sent, branch = {}, ";branch=z9hG4bK"
    local function send(id, via, to, more)
      sent[id] = table.concat({
        "INVITE " .. uri .. " SIP/2.0", "Via: SIP/2.0/UDP 203.0.113.5" .. via,
        "From: <sip:raw@203.0.113.5>;tag=" .. id, "To: <" .. uri .. ">" .. to, "Call-ID: " .. id,
        "CSeq: 1 INVITE", "Contact: <sip:raw@203.0.113.5>", "Max-Forwards: 70", more .. "\r\n",
      }, "\r\n")
      caller:send(sent[id])
      net:after(0.6, function() -- and again
        caller:send(sent[id])
      end)
    end
    local function send_all(i)
      send("plain" .. i, branch .. "1" .. i, "", "Content-Length: 0\r\n")
      send("vias" .. i, branch .. "2" .. i .. ", SIP/2.0/TCP a\r\nv: SIP/2.0/UDP [2001:db8::1]",
        "", "")
      send("rport" .. i, ";rport" .. branch .. "3" .. i .. ";x=\"a;b\"", "", "")
      send("folded" .. i, branch .. "4" .. i, "", "Subject: a\r\n b\r\n")
      send("param" .. i, branch .. "5" .. i, ";x=y", "")
      send("old" .. i, "", "", "") -- RFC 2543
    end
    for i = 1, 9 do
      net:after(1.5 + i / 10, function()
        send_all(i)
      end)
    end
    load:offer(200 * workers, 4)
    net:run(1)
    local tags, ways = {}, {}
    for _, res in ipairs(caller:got(503)) do
      local id = res:header "Call-ID"
      assert.truthy(res.to_tag)
      assert.equal(tags[id] or res.to_tag, res.to_tag) -- of its repetition, too
      assert.matches("^[1-9]$", res:header "Retry-After")
      assert.matches("SIP/2.0/UDP 203.0.113.5", res:header "Via", 1, true)
      assert.matches(";received=203.0.113.5;rport=5060", res:header "Via", 1, true)
      if not tags[id] then
        tags[id], ways[id:match "%a+"] = res.to_tag, true
        caller:send((sent[id]:gsub("INVITE sip", "ACK sip"):gsub("1 INVITE", "1 ACK")
          :gsub("\r\nTo: [^\r]*", "%0;tag=" .. res.to_tag)))
      end
    end
    for way in ("folded old param plain rport vias"):gmatch "%a+" do
      assert.is_true(ways[way], way)
    end
    net:run(1)
    assert.equal(0, net:metric("tandem_dropped_total", { reason = "stray_ack" }))
  end)

  -- Tags of refusals are the same on all nodes, as all of ours (19.3, semantics 18).
  it("is known again by its ACK at the node that has the address by then", function()
    local pair = takeover.open { workers = workers, alive = true }
    net = pair.net
    net.proxy = "udp:" .. pair.vip .. ":5060"
    load = flood.new(net)
    net:run(1)
    net.nodes[1]:slow(slow)
    local caller, sent = net:uac("udp:203.0.113.5", "raw"), {}
    for i = 1, 100 do
      net:after(2 + i / 100, function()
        sent["r" .. i] = table.concat({
          "INVITE " .. uri .. " SIP/2.0", "Via: SIP/2.0/UDP 203.0.113.5;branch=z9hG4bKr" .. i,
          "From: <sip:raw@203.0.113.5>;tag=" .. i, "To: <" .. uri .. ">", "Call-ID: r" .. i,
          "CSeq: 1 INVITE", "Contact: <sip:raw@203.0.113.5>", "Max-Forwards: 70", "\r\n",
        }, "\r\n")
        caller:send(sent["r" .. i])
      end)
    end
    load:offer(200 * workers, 4)
    local refused = caller:got(503)
    assert.is_true(#refused > 10)
    pair:die()
    for _, res in ipairs(refused) do
      caller:send((sent[res:header "Call-ID"]:gsub("INVITE sip", "ACK sip")
        :gsub("1 INVITE", "1 ACK"):gsub("\r\nTo: [^\r]*", "%0;tag=" .. res.to_tag)))
    end
    net:run(1)
    assert.is_true(pair.two:metric("tandem_requests_total", { method = "ACK" }) >= #refused)
    for _, reason in ipairs { "stray_ack", "unlocated_ack" } do
      assert.equal(0, pair.two:metric("tandem_dropped_total", { reason = reason }))
    end
    net:run(40)
  end)

  -- A device may have one branch for all that it sends; what it asks then is another call, or
  -- (every second one) the same with the next CSeq number (8.1.3.5).
  it("is that of one call", function()
    open "sip.settings { overload = { exempt = { '112' } } }"
    local caller = net:uac("udp:203.0.113.5", "raw")
    local function send(user, device)
      local again = device % 2 == 0
      caller:send(table.concat({
        ("INVITE sip:%s@example.com SIP/2.0"):format(user),
        "Via: SIP/2.0/UDP 203.0.113.5;branch=z9hG4bK" .. device,
        "From: <sip:raw@203.0.113.5>;tag=1", ("To: <sip:%s@example.com>"):format(user),
        "Call-ID: " .. (again and "" or user) .. "-" .. device,
        ("CSeq: %d INVITE"):format(again and user == "112" and 2 or 1),
        "Contact: <sip:raw@203.0.113.5>", "Max-Forwards: 70", "\r\n",
      }, "\r\n"))
    end
    local function answered(code)
      local devices = {}
      for _, res in ipairs(caller:got(code)) do
        local user = res:header("To"):match "sip:(%w+)"
        local device = math.tointeger(tonumber(res:header("Call-ID"):match "(%d+)$"))
        if (user == "112") == (code == 200) then
          devices[device] = res
        end
      end
      return devices
    end
    for i = 1, 9 do
      net:after(2, function()
        send("bob", i)
      end)
    end
    net:after(4, function()
      for device in pairs(answered(503)) do
        send("112", device)
      end
    end)
    load:offer(200 * workers, 6)
    net:run(1)
    local n = 0
    local connected = answered(200)
    for device in pairs(answered(503)) do
      n = n + 1
      assert.is_truthy(connected[device])
    end
    assert.is_true(n > 3)
    w.a:crash()
  end)

  it("is seen by who is sent a copy of all messages", function()
    open "sip.settings { trace = { hep = 'udp:192.0.2.99:9060' } }"
    load:offer(200, 2)
    net:run(2)
    local seen = {}
    for name in hep.names(hep.to(net, "192.0.2.99:9060")):gmatch "%S+" do
      seen[name] = (seen[name] or 0) + 1
    end
    assert.is_true(#refusals() > 50)
    assert.equal(#load.calls, #refusals() + seen.decided - seen.BYE / 2)
    assert.is_true(seen["503"] >= #refusals())
  end)

  it("is that of who drains, if we do (21.5.4)", function()
    open()
    load:offer(200, 2)
    local before = shed "invite"
    assert.is_true(before > 50)
    net.nodes[1]:drain()
    load:offer(200, 1)
    net:run(1)
    assert.equal(before, shed "invite")
    assert.equal("5", load.calls[#load.calls].headers["Retry-After"])
  end)

  it("is not for the repetition of what was accepted", function()
    open()
    w.a:on("INVITE", function(_, reply)
      reply(180)
      net:after(5, function()
        reply(200)
      end)
    end)
    local call = w.alice:invite(uri)
    net:run(1)
    local bytes = invite_of(call)
    local repetitions = 0
    for i = 1, 20 do
      net:after(1 + i / 10, function()
        w.alice:send(bytes)
        repetitions = repetitions + 1
      end)
    end
    w.a:on("INVITE", nil)
    load:offer(200, 4)
    net:run(4)
    assert.equal(20, repetitions)
    assert.is_true(#refusals() > 100)
    assert.equal(200, call.code)
    for _, message in ipairs(w.alice.received) do
      assert.not_equal(503, message.code)
    end
    w.alice:bye(call)
    net:run(2)
  end)

  it("is not sent to what has waited so long that it was repeated", function()
    open()
    -- nobody reads for a second, and the repetitions are there, too
    net.nodes[1]:pause()
    local calls = {}
    for i = 1, 100 do
      calls[i] = load.callers[i % 20 + 1]:invite(uri)
    end
    net:run(1)
    net.nodes[1]:resume()
    net:run(10)
    local unanswered = net:metric "tandem_overload_unanswered_total"
    assert.is_true(unanswered > 10)
    assert.is_true(shed "repeated" >= unanswered)
    for _, call in ipairs(calls) do
      assert.is_truthy(call.code == 200 or call.code == 503)
      assert.equal(call.code == 200 and 1 or 0, #call.tried) -- no phone rings for who was refused
    end
    for _, caller in ipairs(load.callers) do
      assert.equal(0, caller.unacked)
      for _, message in ipairs(caller:got(200)) do
        assert.equal("INVITE", message.cseq_method)
      end
    end
    w.a:crash() -- and what it knows of the calls that are up
  end)
end)

sim.for_workers("memory", function(workers)
  after_each(sim.finish)

  local limit = 8 << 20

  it("has a bound, beyond which what is new is refused and the rest goes on", function()
    local w = policy.world {
      workers = workers, servers = 1,
      before = ("sip.settings { max_memory = %d, why_memory = false }"):format(limit),
    }
    local net = w.net
    w.a:on("INVITE", function(_, reply)
      reply(180)
    end)
    local calls, refused = {}, 0
    for i = 1, 3000 do
      calls[i] = w.alice:invite(uri)
      if i % 100 == 0 then
        net:run(0.1)
      end
    end
    net:run(0.2)
    for _, call in ipairs(calls) do
      refused = refused + (call.code == 503 and 1 or 0)
      assert.is_truthy(call.code == 503 or call.state == "ringing")
    end
    assert.is_true(refused > 300 and refused < 2500, refused .. " refused")
    assert.equal(refused, net:metric("tandem_overload_shed_total", { reason = "memory" }))
    local used = net:metric "tandem_core_memory_bytes"
    -- The bound is divided among the workers, and each has its arenas beside it.
    assert.is_true(used < limit + workers * 128 * 1024, used .. " bytes")
    for _, call in ipairs(calls) do
      if call.state == "ringing" then
        w.alice:cancel(call)
      end
    end
    net:run(40)
    for _, call in ipairs(calls) do
      assert.is_truthy(call.code == 503 or call.code == 487)
    end
    w.a:on("INVITE", nil)
    local call = w.alice:call(uri)
    assert.equal(200, call.code)
    w.alice:bye(call)
    net:run(1)
    assert.equal(workers, net:count("overload.begin", { reason = "memory" }))
    assert.equal(workers, net:count "overload.begin")
  end)
end)

sim.for_workers("memory for requests inside of dialogs", function(workers)
  after_each(sim.finish)

  it("is a quarter more, and then they are refused, too", function()
    local w = policy.world {
      workers = workers, servers = 1,
      before = "sip.settings { max_memory = 8388608, why_memory = false }",
    }
    local net = w.net
    local call = w.alice:call(uri)
    w.a:on("INVITE", function(_, reply)
      reply(180)
    end)
    w.a:on("INFO", function() end)
    local invites, infos, refused = {}, {}, 0
    for i = 1, 3000 do
      invites[i] = w.alice:invite(uri)
      if i % 100 == 0 then
        net:run(0.1)
      end
    end
    for i = 1, 1500 do
      infos[i] = w.alice:in_dialog(call, "INFO")
      if i % 100 == 0 then
        net:run(0.1)
      end
    end
    for _, info in ipairs(infos) do
      refused = refused + (info.code == 503 and 1 or 0)
    end
    -- They are all of one worker, and so is the quarter that they may have.
    local taken = #infos - refused
    assert.is_true(taken > 100 / workers and taken < 1400 / workers, taken .. " taken")
    assert.is_true(net:metric "tandem_core_memory_bytes" < 8388608 * 1.27)
    for _, invite in ipairs(invites) do
      if invite.state == "ringing" then
        w.alice:cancel(invite)
      end
    end
    net:run(40)
    w.alice:bye(call)
    net:run(1)
    assert.equal("ended", call.state)
  end)
end)

describe("a server that we were too slow to hear", function()
  after_each(sim.finish)

  local source = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", {
  check = { interval = 5, timeout = 1, fall = 1, rise = 1, jitter = 0 }, passive = { fall = 1 },
  servers = { { name = "a", uri = "sip:10.0.0.1" }, { name = "b", uri = "sip:10.0.0.2" } },
})
sip.route(function(req)
  local res = req:try(pbx:server "a", { timeout = 1 })
  if res then
    return res:forward()
  end
  return req:reply(500)
end)
]]

  local function open()
    local w = policy.world { source = source }
    w.net:run(4.5)
    assert.equal("up", w.net.pools.pbx.a.status)
    return w, w.net
  end

  it("has not failed its check", function()
    local w, net = open()
    w.a:answer("OPTIONS", 200, nil, 0.6)
    net:after(1, function() -- the check is under way
      net.nodes[1]:pause()
    end)
    net:run(2.5)
    net.nodes[1]:resume()
    net:run(1)
    assert.equal("up", net.pools.pbx.a.status)
    assert.equal(0, net:metric("tandem_server_checks_total", { result = "failed" }))
  end)

  it("has not failed a call", function()
    local w, net = open()
    w.a:answer("INVITE", 200, nil, 0.3)
    local call = w.alice:invite(uri)
    net:run(0.1)
    net.nodes[1]:pause()
    net:run(2)
    net.nodes[1]:resume()
    net:run(1)
    assert.equal("up", net.pools.pbx.a.status)
    assert.equal(500, call.code) -- too late for it, all the same
    net:run(5)
  end)

  it("has failed one when we are quick", function()
    local w, net = open()
    w.a:on("INVITE", function() end)
    w.alice:call(uri)
    net:run(0.1)
    assert.equal("down", net.pools.pbx.a.status)
    net:run(40)
  end)

  it("has when it is silent and we are quick", function()
    local w, net = open()
    w.a:silence()
    net:run(6)
    assert.equal("down", net.pools.pbx.a.status)
  end)
end)
