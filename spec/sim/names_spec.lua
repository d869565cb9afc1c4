-- Names that are not servers: looked up while the request waits (semantics 12), wherever
-- a next hop is one: the URI of a try, a Contact, a Route, a request of our own.
local sim = require "support.sim"
local policy = require "support.policy"

local script = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }
sip.settings { domains = { "far.example", "nowhere.example", "srv.example" }, trying = "rfc" }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:10.0.0.1" } }, check = false,
})
sip.route(function(req)
  if req.ruri.host == "example.com" then return req:relay(pbx) end
  local res, err, detail = req:try("sip:" .. req.ruri.user .. "@" .. req.ruri.host,
    { timeout = 3 })
  sip.log.info(("%s %s %s"):format(err, detail and detail.cause, detail and detail.address))
  if res then return res:forward() end
  if err ~= "cancelled" then return req:reply(480) end
end)
]]

sim.for_workers("a name that is looked up for a call", function(workers)
  local net, a, far, second, alice

  before_each(function()
    net = sim.new {
      source = script, workers = workers,
      dns = {
        ["far.example"] = "10.9.0.1",
        ["phone.example"] = { "10.9.0.1", "10.9.0.2" },
        ["_sip._udp.srv.example"] = {
          { priority = 1, target = "far.example" },
          { priority = 2, target = "second.example" },
        },
        ["second.example"] = "10.9.0.2",
      },
    }
    a, alice = net:uas("10.0.0.1", "a"), net:uac("192.0.2.7", "alice")
    far, second = net:uas("10.9.0.1", "far"), net:uas("10.9.0.2", "second")
    a:share_dialogs(far) -- its Contacts name them
    a:share_dialogs(second)
  end)

  after_each(sim.finish)

  local function said()
    return policy.said(net)[1]
  end

  it("is the next hop when it is found", function()
    local call = alice:call "sip:bob@far.example"
    assert.equal(200, call.code)
    local invite = far:got("INVITE")[1]
    assert.equal("sip:bob@far.example", invite.uri)
    assert.equal(200, alice:bye(call):wait().code)
    local asked = #net:queries()
    assert.equal(200, alice:call("sip:bob@far.example").code)
    assert.equal(asked, #net:queries())
  end)

  it("need not be there", function()
    local call = alice:call "sip:bob@nowhere.example"
    assert.equal(480, call.code)
    assert.equal("transport dns_none nil", said())
    assert.equal(1, net:count("request", { tried = "nowhere.example:dns_none:0.01" }))
  end)

  it("may not be found out", function()
    net:resolver "silent"
    local call = alice:call "sip:bob@far.example"
    assert.equal(480, call.code)
    assert.near(2, call.elapsed, 0.05)
    assert.equal("transport dns_timeout nil", said())
  end)

  it("takes of the time of the try", function()
    net:resolver("slow", 0.3) -- NAPTR, SRV, A
    far:silence()
    local call = alice:call "sip:bob@far.example"
    assert.equal(480, call.code)
    assert.near(3, call.elapsed, 0.05)
    assert.equal("timeout silent 10.9.0.1:5060", said())
  end)

  it("is nobody's when the caller has hung up", function()
    net:resolver("slow", 1)
    local call = alice:invite "sip:bob@far.example"
    net:run(0.5)
    alice:cancel(call)
    net:run(0.1)
    assert.equal(487, call.code)
    net:run(5)
    assert.equal(0, #far.received)
    assert.equal("cancelled nil nil", said())
  end)

  -- RFC 3263 4.3, RFC 3261 16.9
  it("leads to the next address when one is dead", function()
    far:refuse()
    local call = alice:call "sip:bob@srv.example"
    assert.equal(200, call.code)
    assert(call.elapsed < 0.05)
    assert.equal(1, #second:got "INVITE")
    assert.equal(1, net:count("request",
      { tried = "10.9.0.1:5060:icmp_port:0.01,10.9.0.2:5060:200:0.00" }))
  end)

  -- The dialog's own way: the callee's Contact is a name.
  describe("in a dialog", function()
    local function call(uri)
      a:answer("INVITE", 200, { Contact = "<" .. (uri or "sip:bob@far.example") .. ">" })
      return alice:call "sip:bob@example.com"
    end

    it("gets ACK and BYE", function()
      local made = call()
      assert.equal(200, made.code)
      net:run(0.3)
      assert.equal(1, #far:got "ACK")
      far:answer("BYE", 200)
      assert.equal(200, alice:bye(made):wait().code)
      assert.equal(0, #a:got "BYE")
    end)

    it("is always the same machine", function()
      far:answer("BYE", 200)
      second:answer("BYE", 200)
      for _ = 1, 8 do
        local made = call "sip:bob@phone.example"
        net:run(0.1)
        assert.equal(200, alice:bye(made):wait().code)
      end
      local at = {}
      for name, machine in pairs { far = far, second = second } do
        for _, message in ipairs(machine.received) do
          assert.equal(at[message.call_id] or name, name)
          at[message.call_id] = name
        end
      end
      assert(#far:got "BYE" > 0 and #far:got "ACK" > 0)
      assert(#second:got "BYE" > 0 and #second:got "ACK" > 0)
      assert.equal(8, #far:got "BYE" + #second:got "BYE")
    end)

    it("that is not there costs the ACK, and the BYE a 500", function()
      a:answer("INVITE", 200, { Contact = "<sip:bob@gone.example>" })
      local made = alice:call "sip:bob@example.com"
      net:run(0.3)
      assert.equal(1, net:metric("tandem_dropped_total", { reason = "unlocated_ack" }))
      assert.equal(500, alice:bye(made):wait().code)
      net:run(40) -- its 2xx is repeated in vain
    end)

    it("that nobody can look up is waited for, by few and not for long", function()
      net:resolver "silent"
      a:answer("INVITE", 200, { Contact = "<sip:bob@gone.example>" })
      local made = alice:call "sip:bob@example.com"
      assert.equal(200, made.code)
      net:run(1)
      assert.equal(0, net:metric("tandem_dropped_total", { reason = "unlocated_ack" }))
      net:run(1.5)
      assert(net:metric("tandem_dropped_total", { reason = "unlocated_ack" }) > 0)
      net:run(40)
    end)
  end)

  it("is where a server sends a request", function()
    local call = a:call "sip:carol@far.example"
    assert.equal(200, call.code)
    assert.equal(1, #far:got "INVITE")
    assert.equal(500, a:call("sip:carol@gone.example").code)
  end)
end)

-- Where a server of ours is we know ahead, however long nobody answers (semantics 12);
-- half a call would be worse than none.
sim.for_workers("the name of a server in a dialog", function(workers)
  after_each(sim.finish)

  local function call(contact)
    local net = sim.new {
      workers = workers, dns = { ["pbx.example"] = "10.0.0.1" },
      source = [[
        local sip = require "tandem"
        sip.listen { "udp:0.0.0.0:5060" }
        local pbx = sip.pool("pbx", {
          servers = { { name = "a", uri = "sip:pbx.example" } }, check = false,
        })
        sip.route(function(req) return req:relay(pbx) end)
      ]],
    }
    local a, alice = net:uas("10.0.0.1", "a"), net:uac("192.0.2.7", "alice")
    a:answer("INVITE", 200, { Contact = contact })
    a:answer("BYE", 200)
    net:run(1)
    net:resolver "silent"
    net:run(2 * 3600) -- nothing that has run out is served any more
    local made = alice:call "sip:bob@example.com"
    assert.equal(200, made.code)
    net:run(3)
    return net, a, alice, made
  end

  it("leads there when nobody can look it up", function()
    local _, a, alice, made = call "<sip:bob@pbx.example>"
    assert(#a:got "ACK" > 0)
    assert.equal(200, alice:bye(made):wait().code)
    assert.equal(1, #a:got "BYE")
  end)

  it("is nobody's at another port or by another transport", function()
    for _, uri in ipairs { "sip:bob@pbx.example:5070", "sip:bob@pbx.example;transport=tcp" } do
      local net, a, alice, made = call("<" .. uri .. ">")
      assert.equal(0, #a:got "ACK")
      assert.equal(500, alice:bye(made):wait().code)
      net:run(40)
      sim.finish()
    end
  end)
end)

-- A served domain is often our own name. Nothing but Max-Forwards would end an ACK that
-- leads back to us, and anybody may send one.
sim.for_workers("a name that leads back to us", function(workers)
  after_each(sim.finish)

  for _, method in ipairs { "ACK", "INFO" } do
    it("is found out at once by " .. method, function()
      local net = sim.new {
        source = script, workers = workers, dns = { ["far.example"] = "10.0.0.100" },
      }
      local alice = net:uac "192.0.2.7"
      policy.send(alice, method, "sip:bob@far.example", { to_tag = "1", to = net.proxy })
      net:run(10)
      local looped = 0
      for _, packet in ipairs(net:packets()) do
        looped = looped + (packet.to == net.proxy and packet.from == net.proxy
          and packet.bytes:find(method, 1, true) == 1 and 1 or 0)
      end
      assert.equal(1, looped)
      assert.equal(1, net:metric "tandem_loops_total")
    end)
  end
end)

describe("a request of our own", function()
  after_each(sim.finish)

  local function ask(uri, more)
    local net = sim.new {
      dns = {
        ["far.example"] = { "10.9.0.1", "10.9.0.2" },
        ["_sip._udp.far.example"] = {
          { priority = 1, target = "one.example" }, { priority = 2, target = "two.example" },
        },
        ["one.example"] = "10.9.0.1", ["two.example"] = "10.9.0.2",
      },
      source = ([[
        local sip = require "tandem"
        sip.listen { "udp:0.0.0.0:5060" }
        sip.route(function(req)
          local res, err, detail = sip.request {
            method = "OPTIONS", uri = %q, timeout = 4, %s
          }
          sip.log.info(res and tostring(res.code)
            or ("%%s %%s %%s"):format(err, detail.cause, detail.address))
          return req:reply(200)
        end)
      ]]):format(uri, more or ""),
    }
    local far, second = net:uas("10.9.0.1", "far"), net:uas("10.9.0.2", "second")
    return net, far, second, net:uac "192.0.2.7"
  end

  it("finds its name", function()
    local net, far, _, alice = ask "sip:far.example"
    alice:ask("MESSAGE", "sip:x@example.com")
    assert.same({ "200" }, policy.said(net))
    assert.equal("sip:far.example", far:got("OPTIONS")[1].uri)
  end)

  it("goes to the next address with the same identity", function()
    local net, far, second, alice = ask "sip:far.example"
    far:refuse()
    alice:ask("MESSAGE", "sip:x@example.com")
    assert.same({ "200" }, policy.said(net))
    local request = second:got("OPTIONS")[1]
    local first
    for _, packet in ipairs(net:packets()) do
      first = first or (packet.to == "10.9.0.1:5060" and packet.bytes)
    end
    for _, name in ipairs { "Call%-ID", "CSeq", "From" } do
      local line = "\r\n(" .. name .. ": [^\r]+)"
      assert.equal(first:match(line), request.bytes:match(line))
    end
    assert.not_equal(first:match "branch=(%w+)", request.bytes:match "branch=(%w+)")
  end)

  it("says what became of it", function()
    local net, far, second, alice = ask "sip:gone.example"
    alice:ask("MESSAGE", "sip:x@example.com")
    assert.same({ "transport dns_none nil" }, policy.said(net))
    assert.equal(0, #far.received + #second.received)
  end)

  it("does not wait longer than it was told", function()
    local net, _, _, alice = ask("sip:far.example", "timeout = 1")
    net:resolver "silent"
    alice:ask("MESSAGE", "sip:x@example.com")
    assert.same({ "transport dns_timeout nil" }, policy.said(net))
  end)
end)

describe("the name of a server", function()
  after_each(sim.finish)

  local net, a, evil, alice

  before_each(function()
    net = sim.new {
      dns = { ["pbx.example"] = "10.0.0.1" },
      source = [[
        local sip = require "tandem"
        sip.listen { "udp:0.0.0.0:5060" }
        sip.settings { domains = { "served.example" } }
        sip.pool("pbx", { servers = { { name = "a", uri = "sip:pbx.example" } }, check = false })
        sip.route(function(req)
          local ok, res = pcall(req.try, req, tostring(req.ruri))
          if not ok then return req:reply(403) end
          return res and res:forward() or req:reply(480)
        end)
      ]],
    }
    a, evil, alice = net:uas("10.0.0.1", "a"), net:uas "203.0.113.9", net:uac "192.0.2.7"
    net:run(1)
  end)

  local function in_dialog(to)
    policy.send(alice, "INFO", to, { to_tag = "1", to = net.proxy })
    net:run(1)
    return alice.received[#alice.received].code
  end

  it("is one of ours wherever a server may be reached", function()
    assert.equal(200, alice:ask("MESSAGE", "sip:bob@pbx.example").code)
    a:answer("INFO", 200)
    assert.equal(200, in_dialog "sip:bob@pbx.example")
    assert.equal(481, in_dialog "sip:bob@other.example")
    assert.equal(403, alice:ask("MESSAGE", "sip:bob@other.example").code)
  end)

  -- Where a URI leads is its maddr: the host before it proves nothing.
  it("is nobody's way to somewhere else", function()
    for _, host in ipairs { "pbx.example", "10.0.0.1", "served.example" } do
      local uri = ("sip:bob@%s;maddr=203.0.113.9"):format(host)
      assert.equal(403, alice:ask("MESSAGE", uri).code)
      assert.equal(481, in_dialog(uri))
    end
    assert.equal(0, #evil.received)
  end)

  it("may be an maddr too", function()
    assert.equal(200, alice:ask("MESSAGE", "sip:bob@other.example;maddr=pbx.example").code)
    assert.equal(200, alice:ask("MESSAGE", "sip:bob@other.example;maddr=10.0.0.1").code)
    assert.equal("sip:bob@other.example;maddr=10.0.0.1", a:got("MESSAGE")[2].uri)
  end)
end)
