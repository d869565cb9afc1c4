-- RFC 3261 18.3: messages out of a stream, whatever its pieces; and what becomes of a
-- stream that cannot be cut.
local sim = require "support.sim"

local script = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", { servers = { { name = "a", uri = "sip:10.0.0.1" } },
  check = false })
sip.route(function(req) return req:relay(pbx) end)
]]

sim.for_workers("a stream", function(workers)
  after_each(sim.finish)

  local net, a, alice

  before_each(function()
    net = sim.new { seed = 3, workers = workers, source = script }
    a, alice = net:uas("10.0.0.1", "a"), net:uac("tcp:192.0.2.7", "alice")
  end)

  -- A request as bytes. `lines` replaces the Content-Length.
  local function options(number, lines, body)
    return table.concat({
      "OPTIONS sip:bob@example.com SIP/2.0",
      "Via: SIP/2.0/TCP 192.0.2.7:5060;branch=z9hG4bK" .. number,
      "From: <sip:a@example.com>;tag=1", "To: <sip:bob@example.com>", "Call-ID: c" .. number,
      "CSeq: 1 OPTIONS", "Max-Forwards: 70",
      lines or "Content-Length: " .. #(body or ""), "", body or "",
    }, "\r\n")
  end

  local function codes()
    local list = {}
    for i, message in ipairs(alice.received) do
      list[i] = message.code
    end
    return table.concat(list, " ")
  end

  local function send(bytes, n, seconds)
    alice:raw(bytes, n, seconds)
    net:run(n and #bytes // n * (seconds or 0) + 1 or 1)
  end

  -- The one connection was closed by the proxy, for that reason.
  local function assert_closed(why)
    assert.equal("closed", alice.ended[1] and alice.ended[1].cause)
    assert.equal(1, net:count("flow.down", { cause = "framing", why = why }))
  end

  for _, n in ipairs { 1, 2, 3, 7, 64, 100000 } do
    it("is the same in pieces of " .. n, function()
      send(options(1, nil, "abc") .. "\r\n" .. options(2) .. options(3, "l : 2", "xy"), n)
      assert.equal("200 200 200", codes())
      local got = a:got "OPTIONS"
      assert.equal(3, #got)
      assert.same({}, alice.ended)
    end)
  end

  it("carries bodies with anything in them", function()
    send(options(1, nil, "\r\n\r\nOPTIONS sip:x SIP/2.0\r\n\r\n") .. options(2), 5)
    assert.equal("200 200", codes())
    assert.equal("\r\n\r\nOPTIONS sip:x SIP/2.0\r\n\r\n", a:got("OPTIONS")[1].body)
  end)

  for what, line in pairs {
    ["no Content-Length"] = { "Subject: x", "Missing Content-Length", "no_length" },
    ["two that differ"] = { "l: 0\r\nContent-Length: 1", "Bad Content-Length", "bad_length" },
    ["one that is no number"] = { "Content-Length: 1x", "Bad Content-Length", "bad_length" },
    ["a line that ends without CR"] = { "l: 0\nX: y", "Bare LF in header", "bare_lf" },
  } do
    it("with " .. what .. " is answered 400 and closed", function()
      send(options(1) .. options(2, line[1]) .. options(3))
      -- our own answer is there before the server's
      table.sort(alice.received, function(x, y) return x.code < y.code end)
      assert.equal("200 400", codes())
      assert.truthy(alice.received[2].bytes:find("SIP/2.0 400 " .. line[2], 1, true))
      assert.matches("branch=z9hG4bK2", alice.received[2]:header "Via")
      assert.equal(1, #a:got "OPTIONS")
      assert_closed(line[2])
      assert.equal(1, net:metric("tandem_framing_errors_total", { reason = line[3] }))
    end)
  end

  it("with a message that is too long is answered 513 and closed", function()
    send(options(1, "Content-Length: 70000", "x"))
    assert.equal("513", codes())
    assert_closed "Message Too Large"
  end)

  it("with a header that does not end is closed long before that", function()
    send(options(1, "X: " .. ("a"):rep(40000)))
    assert.equal("513", codes())
    assert_closed "Message Too Large"
  end)

  it("of something else is closed at once, without a word", function()
    for i, bytes in ipairs { "GET / HTTP/1.1\r\n", "\22\3\1\2\0", ("A"):rep(10000) } do
      alice:raw(bytes)
      net:run(0.1)
      assert.equal(i, #alice.ended)
      assert.equal("closed", alice.ended[i].cause)
    end
    assert.equal("", codes())
    assert.equal(3, net:metric("tandem_framing_errors_total", { reason = "not_sip" }))
  end)

  -- RFC 5626 4.4.1
  it("gets a pong for two CRLFs, and nothing for one", function()
    send(options(1) .. "\r\n" .. options(2))
    assert.equal(0, alice.keepalives)
    alice:ping()
    alice:ping()
    net:run(1)
    assert.equal(2, alice.keepalives)
    assert.equal(2, net:metric "tandem_pongs_total")
    assert.equal("200 200", codes())
  end)

  it("of many messages at once does not keep the others waiting", function()
    local all, bob = {}, net:uac("192.0.2.8", "bob")
    for i = 1, 300 do
      all[i] = options(i)
    end
    alice:raw(table.concat(all))
    local call = bob:call "sip:x@example.com"
    assert.equal(200, call.code)
    assert(call.elapsed < 0.02)
    net:run(1)
    assert.equal(300, #alice.received)
    assert.equal(300, #a:got "OPTIONS")
  end)

  it("may not bring more than can wait", function()
    sim.finish()
    net = sim.new { workers = workers,
      source = "require('tandem').settings { tcp = { max_queue = 65535 } }\n" .. script }
    net:uas("10.0.0.1", "a")
    alice = net:uac("tcp:192.0.2.7", "alice")
    alice:raw(("\r\n\r\n"):rep(50000))
    net:run(1)
    assert.equal(1, net:count("flow.down", { cause = "flood" }))
    assert(alice.keepalives < 50000)
  end)

end)
