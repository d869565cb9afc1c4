-- The checkers of chaos see what is wrong: traces that no proxy should make, each a good
-- call with one thing changed.
local fake = require "support.chaos.fake"

local caller, proxy, stranger = "192.0.2.1:5060", "10.0.0.100:5060", "198.51.100.9:5060"
local a, b = "10.0.0.1:5060", "10.0.0.2:5060"
local up = "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKup;rport"
local noted = up .. "=5060;received=192.0.2.1"

local function ours(branch)
  return "Via: SIP/2.0/UDP 10.0.0.100:5060;branch=z9hG4bK" .. branch .. ";rport"
end

-- o: vias, tag (of To), cseq ("1 INVITE"), hops, more, body.
local function message(start, o)
  local method = o.method or start:match "^%u+"
  local lines = { start, table.concat(o.vias, "\r\n") }
  if o.hops then
    lines[#lines + 1] = "Max-Forwards: " .. o.hops
  end
  lines[#lines + 1] = "From: <sip:x@example.com>;tag=f"
  lines[#lines + 1] = "To: <sip:y@example.com>" .. (o.tag and ";tag=" .. o.tag or "")
  lines[#lines + 1] = "Call-ID: c"
  lines[#lines + 1] = "CSeq: " .. (o.cseq or "1 " .. method)
  lines[#lines + 1] = o.more
  lines[#lines + 1] = "Content-Length: " .. #(o.body or "")
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (o.body or "")
end

local uri = "sip:y@example.com"

-- The steps of a call; each can be taken alone.
local function request(t, method, o)
  o = o or {}
  return t:packet(o.from or caller, proxy, message((method or "INVITE") .. " " .. (o.uri or uri)
    .. " SIP/2.0", { vias = { up }, hops = o.hops or 70, more = o.more, tag = o.tag }))
end

local function attempt(t, branch, to, o)
  o = o or {}
  local method = o.method or "INVITE"
  local vias = o.vias or { ours(branch), noted }
  return t:packet(proxy, to or a, message(method .. " " .. (o.uri or uri) .. " SIP/2.0",
    { vias = vias, hops = o.hops or 69, more = o.more, tag = o.tag }), o.fate)
end

local function says(t, branch, code, o)
  o = o or {}
  return t:packet(o.from or a, proxy, message("SIP/2.0 " .. code .. " So", {
    vias = { ours(branch), noted }, tag = o.tag or "t", cseq = "1 " .. (o.method or "INVITE"),
    more = o.more,
  }))
end

local function goes_up(t, code, o)
  o = o or {}
  return t:packet(proxy, caller, message("SIP/2.0 " .. code .. " So", {
    vias = { noted }, tag = o.tag or "t", cseq = "1 " .. (o.method or "INVITE"), more = o.more,
  }))
end

local function ack(t, branch, to)
  return t:packet(proxy, to or a, message("ACK " .. uri .. " SIP/2.0",
    { vias = { ours(branch) }, tag = "t", cseq = "1 ACK", hops = 70 }))
end

local function acked(t)
  return t:packet(caller, proxy, message("ACK " .. uri .. " SIP/2.0",
    { vias = { up }, tag = "t", cseq = "1 ACK", hops = 70 }))
end

local function ringing(t)
  request(t)
  attempt(t, "1")
  says(t, "1", 180)
  return goes_up(t, 180)
end

local function refused(t)
  ringing(t)
  says(t, "1", 486)
  ack(t, "1")
  return acked(goes_up(t, 486))
end

describe("the checkers", function()
  local t

  before_each(function() t = fake.new() end)

  local function violates(invariants)
    assert.equal(invariants, t:wait(0.1):violated())
  end

  it("say nothing of calls as they should be", function()
    refused(t)
    violates ""
    t = fake.new()
    ringing(t)
    says(t, "1", 200)
    goes_up(t, 200)
    violates ""
  end)

  it("I1: a repetition that was given to the script", function()
    request(t)
    attempt(t, "1")
    request(t:wait(0.1))
    t:log("request", { method = "INVITE", call_id = "c", code = 200 })
    t:log("request", { method = "INVITE", call_id = "c", code = 200 })
    violates "I1"
  end)

  it("I2: a second refusal", function()
    refused(t)
    says(t, "1", 404)
    ack(t, "1")
    goes_up(t, 404)
    violates "I2"
  end)

  it("I2: a second final to another request", function()
    request(t, "MESSAGE")
    attempt(t, "1", a, { method = "MESSAGE" })
    says(t, "1", 200, { method = "MESSAGE" })
    goes_up(t, 200, { method = "MESSAGE" })
    goes_up(t, 500, { method = "MESSAGE" })
    violates "I2"
  end)

  it("I3: a 2xx that did not go up", function()
    ringing(t)
    says(t, "1", 200)
    violates "I3"
  end)

  it("I3: a late 2xx that was not acknowledged", function()
    ringing(t)
    goes_up(t, 500, { tag = "own" })
    says(t:wait(0.1), "1", 200)
    violates "I3"
  end)

  it("I3: a late 2xx that was acknowledged, and not hung up", function()
    local function own(method, cseq)
      t:packet(proxy, a, message(method .. " " .. uri .. " SIP/2.0", { vias = { ours "2" },
        tag = "t", cseq = cseq, hops = 70 }))
    end
    ringing(t)
    goes_up(t, 500, { tag = "own" })
    says(t:wait(0.1), "1", 200)
    own("ACK", "1 ACK")
    violates "I3"
    t = fake.new()
    ringing(t)
    goes_up(t, 500, { tag = "own" })
    says(t:wait(0.1), "1", 200)
    own("ACK", "1 ACK")
    own("BYE", "2 BYE")
    violates ""
  end)

  it("I4: a refusal after a 2xx", function()
    ringing(t)
    says(t, "1", 200)
    goes_up(t, 200)
    goes_up(t, 500, { tag = "own" })
    violates "I4"
  end)

  it("I4: a 503 that should be a 500", function()
    ringing(t)
    says(t, "1", 503)
    ack(t, "1")
    goes_up(t, 503)
    violates "I4"
  end)

  it("I4: a 6xx that was not waited for, unless it came when nobody waited any more", function()
    for _, case in ipairs { { 0.05, "I4" }, { 0.15, "" } } do
      t = fake.new()
      request(t)
      attempt(t:wait(3.9), "1") -- its connection was up then
      says(t:wait(case[1]), "1", 603)
      ack(t, "1")
      goes_up(t:wait(0.01), 500, { tag = "ours" })
      violates(case[2])
    end
  end)

  it("I9: an answer in other words than its server's, of two with one tag", function()
    for contact, what in next, { b = "", c = "I9" } do
      t = fake.new()
      request(t, "UPDATE")
      for branch, server in ipairs { a, b } do
        attempt(t, branch, server, { method = "UPDATE" })
        says(t, branch, 200, { method = "UPDATE", from = server,
          more = ("Contact: <sip:%s>"):format(("ab"):sub(branch, branch)) })
      end
      goes_up(t, 200, { method = "UPDATE", more = ("Contact: <sip:%s>"):format(contact) })
      violates(what)
    end
  end)

  it("I5: a CANCEL before any response", function()
    request(t)
    attempt(t, "1")
    t:packet(proxy, a, message("CANCEL " .. uri .. " SIP/2.0", { vias = { ours "1" }, hops = 70 }))
    violates "I5"
  end)

  it("I5: a CANCEL without an answer", function()
    ringing(t)
    request(t, "CANCEL")
    violates "I5"
  end)

  it("I6: a branch for two targets", function()
    request(t)
    attempt(t, "1")
    goes_up(t, 100, { tag = "own" })
    attempt(t:wait(0.5), "1", b)
    violates "I6"
  end)

  it("I7: another branch for the same request after a restart", function()
    request(t)
    attempt(t, "1")
    t.trace:follow()
    t.model:begin(1)
    request(t:wait(0.1))
    attempt(t, "2")
    violates "I7"
  end)

  it("I8: a Via that is missing, and one that should be gone", function()
    request(t)
    attempt(t, "1", a, { vias = { ours "1", noted, noted } })
    violates "I8"
    t = fake.new()
    ringing(t)
    t:packet(proxy, caller, message("SIP/2.0 183 So", {
      vias = { ours "1", noted }, tag = "t", cseq = "1 INVITE" }))
    violates "I8"
  end)

  it("I8: a response without any Via", function()
    t:packet(proxy, caller, "SIP/2.0 200 OK\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n")
    violates "I8"
  end)

  it("I8: an answer that no server gave", function()
    request(t)
    attempt(t, "1")
    goes_up(t, 200)
    violates "I8"
  end)

  it("I9: a header, a Request-URI or an answer that was changed", function()
    request(t, "INVITE", { more = "Subject: a" })
    attempt(t, "1", a, { more = "Subject: b" })
    violates "I9"
    t = fake.new()
    request(t)
    attempt(t, "1", a, { uri = "sip:z@example.com" })
    violates "I9"
    t = fake.new()
    ringing(t)
    says(t, "1", 486)
    ack(t, "1")
    goes_up(t, 486, { more = "Subject: b" })
    violates "I9"
  end)

  it("I9: a challenge that is missing, or made up", function()
    local function refuse(branch, from, realm)
      t:packet(from, proxy, message("SIP/2.0 401 So", { vias = { ours(branch), noted },
        tag = branch, cseq = "1 INVITE", more = "WWW-Authenticate: " .. realm }))
      ack(t, branch, from)
    end
    local function both(more)
      t = fake.new { forks = true }
      request(t)
      attempt(t, "1", a)
      attempt(t, "2", b)
      refuse("1", a, "A")
      refuse("2", b, "B")
      goes_up(t, 401, { tag = "1", more = "WWW-Authenticate: A" .. more })
    end
    both "\r\nWWW-Authenticate: B"
    violates ""
    both ""
    violates "I9"
    both "\r\nWWW-Authenticate: B\r\nWWW-Authenticate: C"
    violates "I9"
  end)

  it("I10: Max-Forwards that is not one less", function()
    request(t)
    attempt(t, "1", a, { hops = 70 })
    violates "I10"
  end)

  it("I11: ringing, and a 408 of our own, to a MESSAGE", function()
    request(t, "MESSAGE")
    attempt(t, "1", a, { method = "MESSAGE" })
    says(t, "1", 180, { method = "MESSAGE" })
    goes_up(t, 180, { method = "MESSAGE" })
    goes_up(t, 408, { method = "MESSAGE", tag = "own" })
    violates "I11"
  end)

  it("I12: silence", function()
    request(t)
    attempt(t, "1")
    attempt(t:wait(0.5), "1")
    violates "I12"
  end)

  it("I13: a repetition too early, too late, and not at all", function()
    for _, seconds in ipairs { 0.3, 0.7 } do
      t = fake.new()
      request(t)
      attempt(t, "1")
      says(t, "1", 100)
      goes_up(t, 100, { tag = "own" })
      attempt(t:wait(seconds), "1")
      violates "I13"
    end
    t = fake.new()
    request(t)
    attempt(t, "1")
    goes_up(t, 100, { tag = "own" })
    t:wait(2)
    violates "I13"
  end)

  -- A 2xx should have gone up, too.
  it("a fork that somebody has ended repeats nothing, and another one does", function()
    for code, invariants in pairs { [603] = "", [486] = "I13", [200] = "I3" } do
      t = fake.new()
      request(t)
      attempt(t, "1")
      attempt(t, "2", b)
      goes_up(t, 100, { tag = "own" })
      attempt(t:wait(0.5), "1")
      attempt(t, "2", b)
      says(t:wait(0.4), "1", code)
      if code >= 300 then
        ack(t, "1")
      end
      t:wait(1)
      violates(invariants)
    end
  end)

  it("I1: what has no answer, and is given to the script again", function()
    local function withheld()
      t:log("request", { method = "MESSAGE", call_id = "c", code = 0, src = caller, total = 0 })
    end
    request(t, "MESSAGE")
    withheld()
    request(t:wait(1), "MESSAGE")
    violates ""
    withheld()
    violates "I1"
  end)

  it("a request of a stranger's who was first is not the caller's", function()
    request(t, "INVITE", { from = stranger })
    attempt(t, "1", a, { vias = { ours "1", up .. "=5060;received=198.51.100.9" } })
    request(t)
    violates ""
    t:log("request", { method = "INVITE", call_id = "c", code = 200 })
    t:log("request", { method = "INVITE", call_id = "c", code = 200 })
    violates "I1"
  end)

  it("I13: a refusal that is repeated after its ACK", function()
    refused(t)
    goes_up(t:wait(0.5), 486)
    violates "I13"
  end)

  it("I14: a refusal without an ACK, and an ACK to somebody else", function()
    ringing(t)
    says(t, "1", 486)
    goes_up(t, 486)
    violates "I14"
    t = fake.new()
    ringing(t)
    says(t, "1", 486)
    ack(t, "1", b)
    goes_up(t, 486)
    violates "I14"
  end)

  -- Timer D is 0 there: what comes again is acknowledged by what it says of itself.
  it("I14: over a connection the first ACK alone goes where the INVITE went", function()
    for _, case in ipairs { { a, b, "" }, { b, a, "I14" } } do
      t = fake.new():over "tcp"
      request(t)
      attempt(t, "1")
      for i = 1, 2 do
        says(t, "1", 486)
        ack(t, "1", case[i])
      end
      violates(case[3])
    end
  end)

  local function acked_in_call(branch)
    t:packet(caller, proxy, message("ACK sip:y@10.0.0.1:5060 SIP/2.0", {
      vias = { (up:gsub("up", branch)) }, tag = "t", hops = 70 }))
  end

  it("I14: the ACK of a 2xx that is not passed on", function()
    ringing(t)
    says(t, "1", 200)
    goes_up(t, 200)
    acked_in_call "ack"
    violates "I14"
  end)

  it("I14: the same with the branch of an INVITE that was refused is not one of a 2xx", function()
    for branch, invariants in pairs { again = "", other = "I14" } do
      t = fake.new()
      ringing(t)
      says(t, "1", 200)
      goes_up(t, 200)
      t.trace:follow()
      t.model:begin(1) -- which knows nothing of what it passes on
      local vias = { (noted:gsub("up", "again")) }
      t:packet(a, proxy, message("SIP/2.0 481 So",
        { vias = { ours "2", vias[1] }, tag = "t", cseq = "2 INVITE" }))
      t:packet(proxy, caller, message("SIP/2.0 481 So",
        { vias = vias, tag = "t", cseq = "2 INVITE" }))
      acked_in_call(branch)
      violates(invariants)
    end
  end)

  it("I15: a request of a call that goes elsewhere", function()
    request(t, "BYE", { uri = "sip:y@10.0.0.1:5060", tag = "t" })
    attempt(t, "1", b, { method = "BYE", uri = "sip:y@10.0.0.1:5060", tag = "t" })
    violates "I15"
  end)

  it("I16: another node that makes something else of a request", function()
    request(t, "INVITE", { more = "Subject: a" })
    attempt(t, "1", a, { more = "Subject: a" })
    t.trace:follow()
    t.model:begin(1)
    request(t:wait(0.1), "INVITE", { more = "Subject: b" })
    attempt(t, "1", a, { more = "Subject: b" })
    violates "I16"
  end)

  it("I17: a refusal that is held against its server", function()
    t:log("server.health", { to = "down", who = "calls", reason = "passive 486", server = "a" })
    violates "I17"
  end)

  it("I23: a script that goes on with a request of another one", function()
    request(t)
    attempt(t, "1", a, { more = "X-Generation: 1" })
    attempt(t, "2", b, { more = "X-Generation: 2" })
    violates "I23"
  end)

  it("I18: another server while one rings, unless nothing has left", function()
    for fate, invariants in pairs { delivered = "I18", lost = "I18", unsent = "" } do
      t = fake.new()
      ringing(t)
      attempt(t:wait(0.1):over "tcp", "2", b, { fate = fate })
      violates(invariants)
    end
  end)

  it("I13: what has not left is not repeated", function()
    for fate, invariants in pairs { lost = "I13", unsent = "" } do
      t = fake.new()
      request(t)
      attempt(t, "1", a, { fate = fate })
      attempt(t:wait(0.1), "1")
      violates(invariants)
    end
  end)

  it("I18: more attempts than allowed", function()
    request(t)
    for i = 1, 4 do
      attempt(t, tostring(i), "10.0.0." .. i .. ":5060")
    end
    violates "I18"
  end)

  it("I19: an address that only a stranger has named", function()
    request(t)
    attempt(t, "1", "203.0.113.66:5060")
    violates "I19"
  end)

  it("I20: more than a stranger has sent", function()
    t:packet(stranger, proxy, "\r\n\r\n")
    t:packet(proxy, stranger, ("x"):rep(400))
    violates "I20"
  end)

  it("I20: a refusal of a stranger's INVITE that is repeated otherwise than by timer G", function()
    local paces = {
      { wait = { 0.5, 1, 2, 4, 4, 4, 4, 4, 4, 4 }, want = "" },
      { wait = { 0.5, 1, 2, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4 }, want = "I20" },
      { wait = { 0, 0, 0, 0 }, want = "I20" },
      { wait = { 0.5, 0, 0, 0, 0 }, want = "I20" },
      { wait = { 0.2, 0.2, 0.2, 0.2 }, want = "I20" },
    }
    for _, pace in ipairs(paces) do
      t = fake.new()
      request(t, "INVITE", { from = stranger })
      local function refuse()
        t:packet(proxy, stranger, message("SIP/2.0 500 So", {
          vias = { up .. "=5060;received=198.51.100.9" }, tag = "t", cseq = "1 INVITE",
        }))
      end
      refuse()
      for _, seconds in ipairs(pace.wait) do
        t:wait(seconds)
        refuse()
      end
      violates(pace.want)
    end
  end)

  it("I22: a failed script that is answered otherwise, and a failure nobody meant", function()
    request(t, "INVITE", { uri = "sip:fail-err@example.com" })
    goes_up(t, 404, { tag = "own" })
    violates "I22"
    t = fake.new()
    t:log("lua.error", { error = "script.lua:1: attempt to index a nil value" })
    violates "I22"
  end)

  it("I24: what begins something while draining", function()
    t.model.lives[1].draining = 0
    request(t:wait(1))
    attempt(t, "1")
    violates "I24"
  end)
end)
