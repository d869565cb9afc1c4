-- RFC 3261 16.6 step 9, 18.3, 20.14: a datagram may come without Content-Length; what goes
-- on over a stream has one, or nobody could tell where it ends.
local sim = require "support.sim"

local script = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", { servers = { { name = "a", uri = "sip:10.0.0.1%s" } },
  check = false })
sip.route(function(req) return req:relay(pbx) end)
]]

sim.for_workers("a message without Content-Length", function(workers)
  after_each(sim.finish)

  local net, a, alice

  local function open(server, caller)
    net = sim.new { seed = 3, workers = workers,
      source = script:format(server == "tcp" and ";transport=tcp" or "") }
    a = net:uas(server .. ":10.0.0.1", "a")
    alice = net:uac(caller .. ":192.0.2.7", "alice")
  end

  local function request(method, body, opts)
    opts = opts or {}
    local lines = {
      ("%s %s SIP/2.0"):format(method, opts.uri or "sip:bob@example.com"),
      ("Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK%s"):format(net:token(12)),
      "From: <sip:a@example.com>;tag=1",
      "To: <sip:bob@example.com>" .. (opts.to_tag and ";tag=" .. opts.to_tag or ""),
      "Call-ID: c1", "CSeq: 1 " .. method, "Max-Forwards: 70", "Contact: <sip:a@192.0.2.7>",
    }
    for _, route in ipairs(opts.route or {}) do
      lines[#lines + 1] = "Route: " .. route
    end
    lines[#lines + 1] = "\r\n" .. (body or "")
    return table.concat(lines, "\r\n")
  end

  local function server_says(request_got, code, body)
    local lines = { ("SIP/2.0 %d Fine"):format(code) }
    for _, via in ipairs(request_got:list "Via") do
      lines[#lines + 1] = "Via: " .. via
    end
    for _, name in ipairs { "From", "To", "Call-ID", "CSeq" } do
      lines[#lines + 1] = name .. ": " .. request_got:header(name)
        .. (name == "To" and ";tag=2" or "")
    end
    lines[#lines + 1] = "\r\n" .. (body or "")
    a:send(table.concat(lines, "\r\n"), request_got.source)
  end

  it("has one when it goes to a server over TCP", function()
    open("tcp", "udp")
    alice:send(request("MESSAGE", "hello"))
    alice:send((request("OPTIONS"):gsub("Call%-ID: c1", "Call-ID: c2")))
    net:run(1)
    assert.equal("5", a:got("MESSAGE")[1]:header "Content-Length")
    assert.equal("hello", a:got("MESSAGE")[1].body)
    assert.equal("0", a:got("OPTIONS")[1]:header "Content-Length")
    assert.equal(2, #alice:got(200))
  end)

  it("has one when it answers a caller over TCP", function()
    open("udp", "tcp")
    a:silence()
    local call = alice:request("MESSAGE", "sip:bob@example.com")
    net:run(0.1)
    server_says(a:got("MESSAGE")[1], 200, "fine")
    net:run(1)
    assert.equal(200, call.code)
    assert.equal("4", alice:got(200)[1]:header "Content-Length")
    assert.equal("fine", alice:got(200)[1].body)
  end)

  it("has one when it acknowledges", function()
    open("tcp", "udp")
    local call = alice:call("sip:bob@example.com", { ack = false })
    local ok, route = alice:got(200)[1], {}
    for i, value in ipairs(ok:list "Record-Route") do
      table.insert(route, 1, value)
      assert(i < 3)
    end
    alice:send((request("ACK", nil, {
      uri = ok:header("Contact"):match "<(.*)>", to_tag = ok:header("To"):match "tag=(.*)",
      route = route,
    }):gsub("Call%-ID: c1", "Call-ID: " .. ok:header "Call-ID")
      :gsub("From: [^\r]*", "From: " .. ok:header "From")))
    net:run(0.1)
    assert.equal("0", a:got("ACK")[1]:header "Content-Length")
    alice:ack(call)
    assert.equal(200, alice:bye(call):wait().code)
  end)

  it("is as it was over UDP", function()
    open("udp", "udp")
    alice:send(request("MESSAGE", "hello"))
    net:run(1)
    assert.is_nil(a:got("MESSAGE")[1]:header "Content-Length")
    assert.equal("hello", a:got("MESSAGE")[1].body)
  end)
end)
