-- What spec/sim/attacker_spec.lua has under virtual time, over sockets: a stranger wants
-- the program that users run to send to a third party.
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

-- A careless script: it sends everything where its Request-URI says.
local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.pool("pbx", { servers = { { name = "a", uri = "sip:127.0.0.1:%{server}" } }, check = false })
sip.route(function(req) return req:relay(req.ruri.text) end)
]]

describe("an attacker", function()
  local port, server, victim, ctl, a, b, n

  setup(function()
    port, server, victim = process.ports(3)
    ctl = process.path "ctl.sock"
    proxy.start { source = source, args = { "--ctl", ctl },
      values = { port = port, server = server } }
    a = sipp.server("silent", { name = "a", port = server })
    b = sipp.server("silent", { name = "b", port = victim })
    n = 0
  end)
  teardown(process.clean)

  local function request(method, uri, lines, more)
    n, more = n + 1, more or {}
    local list = { method .. " " .. uri .. " SIP/2.0",
      "Via: " .. (more.via or "SIP/2.0/UDP 127.0.0.1:1") .. ";rport;branch=z9hG4bKa" .. n }
    for _, line in ipairs(lines or {}) do
      list[#list + 1] = line
    end
    for _, line in ipairs { "Max-Forwards: 70", "From: <sip:mallory@127.0.0.1>;tag=m",
      "To: <sip:bob@example.com>" .. (more.to_tag and ";tag=1" or ""), "Call-ID: a" .. n,
      "CSeq: 1 " .. method, "Contact: <sip:mallory@127.0.0.1>", "Content-Length: 0", "", "" } do
      list[#list + 1] = line
    end
    return table.concat(list, "\r\n")
  end

  local function metric(name)
    local _, text = http.ask(ctl, "/metrics")
    return tonumber(text:match("\n" .. name:gsub("[{}]", "%%%0") .. " (%d+)")) or 0
  end

  local denied = 'tandem_relay_denied_total{reason="%s"}'

  -- Nothing but an answer of that code comes of it, and the counter tells.
  local function try(code, counter, bytes)
    local before = metric(counter)
    local answer = process.ask(port, bytes, 0.3)
    assert.equal(code, answer:match "^SIP/2%.0 (%d+)" or "")
    assert(metric(counter) > before, counter)
    assert.same({}, b:got())
  end

  it("preloads a Route", function()
    local route = ("Route: <sip:127.0.0.1:%d;lr>"):format(victim)
    try("403", denied:format "route", request("INVITE", "sip:bob@example.com", { route }))
    try("403", denied:format "route", request("MESSAGE", "sip:bob@example.com",
      { ("Route: <sip:127.0.0.1:%d;lr>"):format(port), route }))
  end)

  it("asks for a Request-URI", function()
    for _, uri in ipairs { "sip:bob@127.0.0.1:%d", "sip:bob@localhost:%d",
      "sip:bob@127.0.0.1:%d;transport=tcp", "sip:bob@[::ffff:127.0.0.1]:%d",
      "sip:bob@example.com:%d;maddr=127.0.0.1" } do
      try("500", denied:format "uri", request("MESSAGE", uri:format(victim)))
    end
  end)

  it("claims a dialog", function()
    local uri = ("sip:bob@127.0.0.1:%d"):format(victim)
    local forged = ("Route: <sip:127.0.0.1:%d;lr;t=1n%032x>"):format(port, 5)
    try("481", denied:format "dialog", request("BYE", uri, {}, { to_tag = true }))
    try("481", "tandem_bad_cookies_total", request("BYE", uri, { forged }, { to_tag = true }))
    try("", 'tandem_dropped_total{reason="stray_ack"}',
      request("ACK", uri, { forged }, { to_tag = true }))
  end)

  it("makes up a token of a phone", function()
    local token = ("flow1-p0001%s%04x01%s%04x%016x"):format("7f000001", port, "7f000001", victim, 1)
    try("403", "tandem_bad_tokens_total", request("INVITE", "sip:bob@example.com",
      { ("Route: <sip:%s@127.0.0.1:%d;lr>"):format(token, port) }))
  end)

  it("is somebody else in his Via: the answer comes to himself", function()
    for _, via in ipairs { "SIP/2.0/UDP 127.0.0.1:%d", "SIP/2.0/UDP 127.0.0.1:%d;maddr=127.0.0.1",
      "SIP/2.0/TCP 127.0.0.1:%d", "SIP/2.0/UDP example.com;received=127.0.0.1;x=%d" } do
      try("403", denied:format "route", request("MESSAGE", "sip:bob@example.com",
        { ("Route: <sip:127.0.0.1:%d;lr>"):format(victim) }, { via = via:format(victim) }))
    end
  end)

  it("makes up a response", function()
    try("", 'tandem_dropped_total{reason="forged_branch"}', table.concat({
      "SIP/2.0 200 OK", ("Via: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK1%s"):format(port,
        ("5"):rep(50)),
      ("Via: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bKx;received=127.0.0.1;rport=%d")
        :format(victim, victim),
      "From: <sip:a@b>;tag=1", "To: <sip:c@d>;tag=2", "Call-ID: r1", "CSeq: 1 INVITE",
      "Content-Length: 0", "", "" }, "\r\n"))
  end)

  it("cancels what is not there: servers may be asked, nobody else", function()
    local answer = process.ask(port, request("CANCEL", "sip:bob@127.0.0.1:" .. victim), 0.3)
    assert.truthy(answer == "" or answer:find "^SIP/2%.0 481")
    assert.same({}, b:got())
    for _, message in ipairs(a:got()) do
      assert.equal("CANCEL", message)
    end
  end)
end)
