-- Where a response goes when its connection has gone (RFC 3261 18.2.2, RFC 3263 5).
local sim = require "support.sim"

local script = [[
local sip = require "tandem"
sip.listen {
  "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060",
  { "tls:0.0.0.0:5061", cert = "c.pem", key = "k.pem" },
}
local pbx = sip.pool("pbx", { servers = { { name = "a", uri = "sip:10.0.0.1" } },
  check = false })
sip.route(function(req) return req:relay(pbx) end)
]]

sim.for_workers("a response whose connection has gone", function(workers)
  after_each(sim.finish)

  local net, a

  local function open(opts)
    opts = opts or {}
    opts.seed, opts.workers, opts.source = 3, workers, script
    net = sim.new(opts)
    a = net:uas("10.0.0.1", "a")
  end

  local function message(sent_by, number)
    return table.concat({
      "MESSAGE sip:bob@example.com SIP/2.0",
      "Via: SIP/2.0/TCP " .. sent_by .. ";branch=z9hG4bK" .. (number or 1),
      "From: <sip:a@example.com>;tag=1", "To: <sip:bob@example.com>",
      "Call-ID: c" .. (number or 1), "CSeq: 1 MESSAGE", "Max-Forwards: 70",
      "Content-Length: 0", "", "",
    }, "\r\n")
  end

  -- A MESSAGE with that sent-by, its sender's connection reset, and then the answer.
  local function ask(sender, sent_by)
    a:answer("MESSAGE", 200, nil, 1)
    sender:raw(message(sent_by))
    net:run(0.5)
    sender:reset()
    net:run(1)
  end

  it("goes to where its caller listens", function()
    open()
    local alice = net:uac("tcp:192.0.2.7", "alice")
    a:ring(2)
    local call = alice:invite "sip:bob@example.com"
    net:run(1)
    alice:reset()
    net:run(2)
    assert.equal(1, #alice:got(200))
    assert.equal("up", call.state)
    assert.equal(1, net:count("flow.up", { direction = "out", peer = "192.0.2.7:5060" }))
    assert(net:metric("tandem_unsent_total", { kind = "response" }) > 0)
  end)

  it("goes to the port its caller named, at the address it came from", function()
    open()
    local other = net:uas("tcp:192.0.2.7:5070", "other")
    ask(net:uac("tcp:192.0.2.7", { name = "alice", listen = false }), "192.168.1.1:5070")
    assert.equal(1, #other:got(200))
  end)

  it("goes to where the name of its caller leads", function()
    open { dns = { ["client.example"] = "192.0.2.9",
      ["_sip._tcp.client.example"] = { { target = "c2.client.example", port = 5082 } },
      ["c2.client.example"] = "192.0.2.10" } }
    local host, service = net:uas("tcp:192.0.2.9", "host"),
      net:uas("tcp:192.0.2.10:5082", "service")
    ask(net:uac("tcp:192.0.2.7", { name = "alice", listen = false }), "client.example")
    -- no port: SRV says where
    assert.equal(1, #service:got(200))
    assert.equal(0, #host:got(200))
    -- with a port only its address is asked for
    ask(net:uac("tcp:192.0.2.8", { name = "bob", listen = false }), "client.example:5060")
    assert.equal(1, #host:got(200))
  end)

  it("goes to the next place when one does not take it", function()
    open { dns = { ["client.example"] = { "192.0.2.9", "192.0.2.10" } } }
    net:uas("tcp:192.0.2.9", "first"):stall()
    local second = net:uas("tcp:192.0.2.10", "second")
    ask(net:uac("tcp:192.0.2.7", { name = "alice", listen = false }), "client.example:5060")
    net:run(5)
    assert.equal(1, #second:got(200))
    assert.equal(0, net:metric "tandem_undelivered_responses_total")
  end)

  it("is given up when nobody takes it, and counted", function()
    open { dns = { ["client.example"] = "192.0.2.9" } }
    ask(net:uac("tcp:192.0.2.7", { name = "alice", listen = false }), "client.example:5060")
    net:run(10)
    assert.equal(1, net:metric "tandem_undelivered_responses_total")
  end)

  it("and whose caller has no name is given up sooner", function()
    open()
    ask(net:uac("tcp:192.0.2.7", { name = "alice", listen = false }), "192.0.2.7")
    assert.equal(1, net:metric "tandem_undelivered_responses_total")
    assert.same({}, net:queries())
  end)

  it("goes to nobody over TLS who is not the caller", function()
    open { dns = { ["client.example"] = "192.0.2.9" } }
    local mallory = net:uas("tls:192.0.2.9", { name = "mallory",
      tls = { names = { "mallory.example" } } })
    local alice = net:uac("tls:192.0.2.7", { name = "alice", listen = false })
    a:answer("MESSAGE", 200, nil, 1)
    alice:raw((message("client.example"):gsub("/TCP", "/TLS")))
    net:run(0.5)
    alice:reset()
    net:run(5)
    assert.equal(0, #mallory.received)
    assert.equal(1, net:count("flow.down", { cause = "tls_identity" }))
    assert.equal(1, net:metric "tandem_undelivered_responses_total")
  end)

  it("goes to the new connection of a caller that repeats its request", function()
    open()
    local alice = net:uac("tcp:192.0.2.7", { name = "alice", listen = false })
    a:answer("MESSAGE", 200, nil, 2)
    alice:raw(message "192.0.2.7")
    net:run(0.5)
    alice:reset()
    net:run(0.5)
    alice:raw(message "192.0.2.7")
    net:run(3)
    assert.equal(1, net:metric("tandem_retransmissions_total", { direction = "in" }))
    assert.equal(1, #alice:got(200))
    assert.equal(0, net:metric("tandem_unsent_total", { kind = "response" }))
  end)

  it("does not go to another machine that repeats the request", function()
    open()
    local alice = net:uac("tcp:192.0.2.7", "alice")
    local mallory = net:uac("tcp:192.0.2.66", "mallory")
    a:answer("MESSAGE", 200, nil, 2)
    alice:raw(message "192.0.2.7")
    net:run(0.5)
    mallory:raw(message "192.0.2.7")
    net:run(3)
    assert.equal(0, #mallory:got(200))
    assert.equal(1, #alice:got(200))
  end)
end)
