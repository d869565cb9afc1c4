-- Loops and spirals: RFC 3261 16.3 step 4, RFC 5393, checklist 31.
local sim = require "support.sim"
local wire = require "support.wire"

local uri = "sip:bob@example.com"

sim.for_workers("a request that comes back", function(workers)
  after_each(sim.finish)

  local net, a, b, alice

  local function open(opts)
    opts = opts or {}
    opts.workers = workers
    net, a, b, alice = wire.world(opts)
  end

  -- The endpoint sends every request of that method back to the proxy, as a proxy
  -- would: one Via more, Max-Forwards less one, `change` applied. It comes from a
  -- third address, which is no member of the pool.
  local function bounce(server, method, change, limit)
    local mirror = net:uas("10.0.0.50", "mirror")
    local n = 0
    server:on(method, function(request)
      n = n + 1
      if n > (limit or 1) then
        return
      end
      local bytes = request.bytes:gsub("\r\nVia: ",
        "\r\nVia: SIP/2.0/UDP 10.0.0.50;branch=z9hG4bKmirror" .. n .. ";rport\r\nVia: ", 1)
        :gsub("Max%-Forwards: (%d+)", function(hops)
          return ("Max-Forwards: %d"):format(hops - 1)
        end)
      mirror:send((change or function(text) return text end)(bytes, n), net.proxy)
    end)
    return mirror
  end

  it("unchanged is a loop: 482, and the script does not see it", function()
    open { handler = "sip.log.info 'run' " .. wire.single }
    local mirror = bounce(a, "INVITE")
    alice:invite(uri)
    net:run(0.3)
    assert.equal("482", wire.names(mirror.received))
    assert.equal(1, #a:got "INVITE")
    assert.equal(1, wire.said(net, "run"))
    assert.equal(1, net:metric "tandem_loops_total")
    a:on("INVITE", nil)
    net:run(400)
  end)

  it("with another Request-URI is a spiral, and served (RFC 5393 4.2)", function()
    open { handler = "sip.log.info 'run' " .. wire.single }
    local n = 0
    local mirror = bounce(a, "MESSAGE", function(bytes)
      n = n + 1
      return (bytes:gsub("^MESSAGE %S+", "MESSAGE sip:carol@example.com"))
    end)
    alice:request("MESSAGE", uri)
    net:run(0.1)
    assert.equal(2, #a:got "MESSAGE")
    assert.equal(2, wire.said(net, "run"))
    assert.equal(0, net:metric "tandem_loops_total")
    assert.equal("67", a:got("MESSAGE")[2]:header "Max-Forwards")
    assert.equal(4, #a:got("MESSAGE")[2]:list "Via")
    assert.same({}, mirror.received)
    assert.not_equal(a:got("MESSAGE")[1].branch, a:got("MESSAGE")[2].branch)
    net:run(70)
  end)

  for name, change in pairs {
    ["another From tag"] = function(bytes)
      return (bytes:gsub("(From:[^\r]*;tag=)%w+", "%1another"))
    end,
    ["another Call-ID"] = function(bytes)
      return (bytes:gsub("Call%-ID: ", "Call-ID: x", 1))
    end,
    ["another CSeq number"] = function(bytes)
      return (bytes:gsub("CSeq: 1 ", "CSeq: 2 "))
    end,
  } do
    it("with " .. name .. " is a spiral", function()
      open { handler = wire.single }
      bounce(a, "MESSAGE", change)
      alice:request("MESSAGE", uri)
      net:run(0.1)
      assert.equal(2, #a:got "MESSAGE")
      assert.equal(0, net:metric "tandem_loops_total")
      net:run(70)
    end)
  end

  it("with a Proxy-Authorization is a loop: its CANCEL would have none", function()
    open { handler = wire.single }
    local mirror = bounce(a, "MESSAGE", function(bytes)
      return (bytes:gsub("\r\nFrom:", "\r\nProxy-Authorization: Digest x=1\r\nFrom:", 1))
    end)
    alice:request("MESSAGE", uri)
    net:run(0.1)
    assert.equal(1, #a:got "MESSAGE")
    assert.equal("482", wire.names(mirror.received))
    assert.equal(1, net:metric "tandem_loops_total")
    net:run(70)
  end)

  it("to another server of ours is still a loop: what counts is what we were asked", function()
    open()
    local mirror = bounce(b, "INVITE")
    a:answer("INVITE", 503)
    alice:invite(uri)
    net:run(1)
    assert.equal("482", wire.names(mirror.received))
    assert.equal(1, #a:got "INVITE")
    b:on("INVITE", nil)
    net:run(400)
  end)

  it("round and round with new Request-URIs ends with Max-Forwards: 483", function()
    open { handler = wire.single }
    local mirror = bounce(a, "MESSAGE", function(bytes, n)
      return (bytes:gsub("^MESSAGE %S+", "MESSAGE sip:bob" .. n .. "@example.com"))
    end, 100)
    alice:request("MESSAGE", uri, { headers = { ["Max-Forwards"] = "10" } })
    net:run(0.2)
    assert.equal(5, #a:got "MESSAGE") -- 9, 7, 5, 3, 1
    assert.equal("1", a:got("MESSAGE")[5]:header "Max-Forwards")
    assert.equal(1, #mirror:got(483))
    a:on("MESSAGE", nil)
    net:run(100)
  end)

  it("is known by a Via of ours only: the same text from elsewhere is none", function()
    open { handler = wire.single }
    bounce(a, "MESSAGE", function(bytes)
      return (bytes:gsub("10%.0%.0%.100", "10.0.0.200"))
    end)
    alice:request("MESSAGE", uri)
    net:run(0.1)
    assert.equal(2, #a:got "MESSAGE")
    assert.equal(0, net:metric "tandem_loops_total")
    net:run(70)
  end)

  it("by another address of the proxy is a loop as well: a VIP is us", function()
    open { handler = wire.single, addr = { "10.0.0.100", "10.0.0.200" } }
    local mirror = bounce(a, "MESSAGE")
    alice:request("MESSAGE", uri, { proxy = "10.0.0.200" })
    net:run(0.3)
    assert.matches("^SIP/2.0/UDP 10.0.0.200", a:got("MESSAGE")[1]:header "Via")
    assert.equal("10.0.0.100:5060", mirror.received[1].source)
    assert.equal("482", wire.names(mirror.received))
    a:on("MESSAGE", nil)
    net:run(70)
  end)

  it("that names the proxy itself does not go round inside", function()
    open { handler = [[
      local res = req:try "sip:bob@10.0.0.100"
      if res then return res:forward() end
      return req:reply(500) ]],
      before = 'sip.settings { domains = { "10.0.0.100" } }' }
    local call = alice:call "sip:bob@10.0.0.100"
    assert(call.code == 482 or call.code >= 500, call.code)
    local sent = 0
    for _, packet in ipairs(net:packets()) do
      sent = sent + (packet.node and packet.bytes:find "^INVITE" and 1 or 0)
    end
    assert.equal(1, sent)
  end)
end)

describe("a loop over two nodes", function()
  after_each(sim.finish)

  -- Each forwards everything to the other; they share nothing but the key.
  local source = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
sip.settings { trust = sip.netset { "10.0.0.0/8" }, domains = { "10.0.0.100", "10.0.0.101" } }
sip.route(function(req)
  local res = req:try("sip:bob@%s", { timeout = 10 })
  if res then return res:forward() end
  return req:reply(500)
end)
]]

  it("ends with 482 where it began", function()
    local net = sim.new { source = source:format "10.0.0.101", key = "0123456789abcdef" }
    net:node { source = source:format "10.0.0.100" }
    local alice = net:uac("192.0.2.7", "alice")
    local call = alice:call "sip:bob@10.0.0.101"
    net:run(1)
    assert.equal(482, call.code)
    local sent = 0
    for _, packet in ipairs(net:packets()) do
      sent = sent + (packet.node and packet.bytes:find "^INVITE" and 1 or 0)
    end
    assert(sent <= 3, sent)
  end)
end)
