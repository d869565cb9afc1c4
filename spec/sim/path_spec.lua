-- Semantics 14: Path (RFC 3327) with flow tokens, and the dialogs of phones behind
-- a NAT.
local sim = require "support.sim"
local policy = require "support.policy"
local registrar = require "support.registrar"
local wire = require "support.wire"

local domain = "sip:bob@example.com"
local token_uri = "^<sip:flow1%-p%x+@10%.0%.0%.100:5060;lr>$"

sim.for_workers("Path", function(workers)
  after_each(sim.finish)

  local w, phone, bindings

  -- A registrar at 10.0.0.1, and a phone behind the NAT 198.51.100.9.
  local function open(more)
    more = more or {}
    more.workers = workers
    more.pool = more.pool or 'path = "always"'
    more.handler = more.handler or "say(req.method) return req:relay(pbx)"
    w = policy.world(more)
    phone = w.net:uac("198.51.100.9:41002", { name = "phone", private = "192.168.1.20" })
    bindings = registrar.new(w.a)
  end

  local function register(opts)
    local asked = phone:ask("REGISTER", "sip:example.com", opts)
    return asked, w.a:got("REGISTER")[#w.a:got "REGISTER"]
  end

  local function invite(opts)
    local call = registrar.invite(w.a, bindings.phone, opts)
    w.net:run(1)
    return call
  end

  local function bad_tokens()
    return w.net:metric "tandem_bad_tokens_total"
  end

  describe("of a REGISTER", function()
    -- RFC 3327 5.2
    it("names us and the phone's flow", function()
      open()
      local asked, seen = register()
      assert.equal(200, asked.code)
      assert.equal(1, #seen:list "Path")
      assert.matches(token_uri, seen:header "Path")
      assert.equal("path", seen:header "Supported")
      assert.equal("<sip:phone@192.168.1.20:5060>", seen:header "Contact")
    end)

    it("is the same every time, and another for another phone", function()
      open()
      local _, first = register()
      local _, second = register()
      assert.equal(first:header "Path", second:header "Path")
      local other = w.net:uac("198.51.100.9:41003", "other")
      other:ask("REGISTER", "sip:example.com")
      assert.not_equal(first:header "Path", w.a:got("REGISTER")[3]:header "Path")
    end)

    it("goes on top of another's", function()
      open()
      local _, seen = register { headers = { Path = "<sip:198.51.100.70;lr>" } }
      assert.equal(2, #seen:list "Path")
      assert.matches(token_uri, seen:list("Path")[1])
      assert.equal("<sip:198.51.100.70;lr>", seen:list("Path")[2])
    end)

    -- RFC 3327 5.2
    it("with 'supported' is only for phones that say so", function()
      open { pool = 'path = "supported"' }
      local _, seen = register()
      assert.is_nil(seen:header "Path")
      assert.is_nil(seen:header "Supported")
      _, seen = register { headers = { Supported = "gruu, PATH" } }
      assert.matches(token_uri, seen:header "Path")
      assert.equal("gruu, PATH", seen:header "Supported")
      _, seen = register { headers = { k = "outbound,path" } }
      assert.matches(token_uri, seen:header "Path")
    end)

    it("is not there by default, nor in other requests", function()
      open { pool = "" }
      local _, seen = register { headers = { Supported = "path" } }
      assert.is_nil(seen:header "Path")
      open()
      phone:ask("OPTIONS", domain)
      assert.is_nil(w.a:got("OPTIONS")[1]:header "Path")
    end)

    it("is two values when it leaves by another door", function()
      open { source = [[
        local sip = require "tandem"
        sip.listen { "udp:10.0.0.100:5060", "udp:[2001:db8::100]:5060" }
        local pbx = sip.pool("pbx", { check = false, path = "always", servers = {
          { name = "a", uri = "sip:10.0.0.1" } } })
        sip.route(function(req) return req:relay(pbx) end)
      ]], addr = { "10.0.0.100", "2001:db8::100" } }
      local six = w.net:uac("[2001:db8::7]:5060", {
        name = "six", proxy = "[2001:db8::100]:5060", private = "[fd00::1]:5060" })
      assert.equal(200, six:ask("REGISTER", "sip:example.com").code)
      local path = w.a:got("REGISTER")[1]:list "Path"
      assert.equal("<sip:10.0.0.100:5060;lr>", path[1])
      assert.matches("^<sip:flow1%-p%x+@%[2001:db8::100%]:5060;lr>$", path[2])
      assert.equal(2, #path)
      local call = registrar.invite(w.a, bindings.six)
      w.net:run(1)
      assert.equal("six", call.server)
      assert.equal("up", call.state)
      assert.equal(200, w.a:bye(call):wait().code)
    end)
  end)

  describe("of a call", function()
    it("leads to the phone's flow, Request-URI untouched, without the script", function()
      open { after = [[sip.route("*from_server", function(req)
        say "from_server" return req:reply(480) end)]] }
      register()
      local call = invite()
      assert.equal("phone", call.server)
      local seen = phone:got("INVITE")[1]
      assert.equal("sip:phone@192.168.1.20:5060", seen.uri)
      assert.is_nil(seen:header "Route")
      assert.same({ "REGISTER" }, w.said())
      assert.equal(200, w.a:bye(call):wait().code)
    end)

    it("leads there for any method", function()
      open()
      register()
      for _, method in ipairs { "OPTIONS", "MESSAGE", "NOTIFY", "SUBSCRIBE" } do
        local asked = w.a:ask(method, bindings.phone.contact, { route = bindings.phone.path })
        assert.equal("phone", asked.server, method)
      end
    end)

    it("leaves Routes below ours for the next proxy", function()
      open()
      register { headers = { Path = "<sip:198.51.100.70;lr>" } }
      invite()
      assert.same({ "<sip:198.51.100.70;lr>" }, phone:got("INVITE")[1]:list "Route")
    end)

    it("leads there when it came through a strict router", function()
      open()
      register()
      local uri = bindings.phone.path[1]:match "<(.-)>"
      local asked = w.a:ask("MESSAGE", uri:gsub(";lr", ";lr;t=x"), {
        route = { "<" .. bindings.phone.contact .. ">" }, proxy = "10.0.0.100" })
      assert.equal("phone", asked.server)
      assert.equal(bindings.phone.contact, phone:got("MESSAGE")[1].uri)
    end)

    it("can be refused and cancelled by either side", function()
      open()
      register()
      phone:once("INVITE", 486)
      assert.equal(486, invite().code)
      phone:ring()
      local call = invite()
      w.a:cancel(call)
      w.net:run(1)
      assert.equal(487, call.code)
      assert.equal("200 INVITE ACK INVITE CANCEL ACK", wire.names(phone.received))
    end)

    it("works for a second pool member too", function()
      open()
      register()
      local call = registrar.invite(w.b, bindings.phone)
      w.net:run(1)
      assert.equal("phone", call.server)
      w.b:bye(call):wait()
    end)
  end)

  describe("of the dialog of a phone behind a NAT", function()
    local all = { "INVITE", "UPDATE", "INFO", "REFER", "NOTIFY", "MESSAGE" }

    local function both_ways(call)
      for _, one in ipairs { w.a, phone } do
        for _, method in ipairs(all) do
          local asked = one:in_dialog(call, method):wait()
          assert.equal(method == "REFER" and 202 or 200, asked.code, one.name .. " " .. method)
          w.net:run(0.1)
        end
      end
      assert.equal(0, w.a.unacked + phone.unacked)
    end

    for _, ending in ipairs { "server", "phone" } do
      it("that the server called works to the end, by the " .. ending, function()
        open()
        register()
        local call = invite()
        both_ways(call)
        local bye = (ending == "server" and w.a or phone):bye(call):wait()
        assert.equal(200, bye.code)
        assert.equal("ended", call.state)
      end)

      it("that called through us works to the end, by the " .. ending, function()
        open()
        local call = phone:call(domain)
        assert.equal("a", call.server)
        w.net:run(0.1)
        both_ways(call)
        local bye = (ending == "server" and w.a or phone):bye(call):wait()
        assert.equal(200, bye.code)
        assert.equal("ended", call.state)
      end)
    end

    it("says so in Record-Route on the phone's side only", function()
      open()
      register()
      local call = invite()
      assert.matches("^<sip:flow1%-d%x+@10.0.0.100:5060;lr;t=1u%x+>$",
        phone:got("INVITE")[1]:header "Record-Route")
      w.a:bye(call):wait()
      phone:call(domain)
      assert.matches("^<sip:flow1%-u%x+@10.0.0.100:5060;lr;t=1d%x+>$",
        w.a:got("INVITE")[1]:header "Record-Route")
      assert.equal(0, bad_tokens())
    end)

    it("carries reliable provisionals both ways", function()
      open()
      register()
      for _, pair in ipairs { { w.a, phone }, { phone, w.a } } do
        local caller, callee = pair[1], pair[2]
        callee:on("INVITE", function(_, reply)
          reply(183, { reliable = true })
          callee:after(2, function() reply(200) end)
        end)
        local call = caller == w.a and registrar.invite(w.a, bindings.phone)
          or phone:invite(domain)
        call:wait()
        assert.equal("up", call.state)
        assert.equal(1, #callee:got "PRACK")
      end
    end)

    it("is not by the flow when another proxy stands between us and the phone", function()
      open()
      local via = ("SIP/2.0/UDP %s;branch=z9hG4bK%s;rport, SIP/2.0/UDP 192.168.1.20")
        :format(phone.private, "x")
      phone:invite(domain, { via = via, branch = "z9hG4bKx" })
      w.net:run(1)
      assert.matches("^<sip:10.0.0.100:5060;lr;t=1d", w.a:got("INVITE")[1]:header "Record-Route")
    end)

    it("is by the Contact when that is where the phone sends from", function()
      open()
      w.alice.contact = "<sip:alice@192.0.2.7:5090>" -- it listens on another port
      w.alice:call(domain)
      assert.matches("^<sip:10.0.0.100:5060;lr;t=1d", w.a:got("INVITE")[1]:header "Record-Route")
    end)

    it("is by the Contact in pools without Path", function()
      open { pool = "" }
      w.alice:call(domain)
      assert.matches("^<sip:10.0.0.100:5060;lr;t=1d", w.a:got("INVITE")[1]:header "Record-Route")
    end)

    it("of two phones that call each other through one server", function()
      open()
      register()
      local other = w.net:uac("198.51.100.9:41003", { name = "other", private = "192.168.1.30" })
      -- the server is a proxy without a Record-Route of its own
      w.a:on("INVITE", function(request, reply)
        w.a.seen = request
        reply(100)
      end)
      other:invite("sip:phone@example.com")
      w.net:run(1)
      local onward = w.a:invite(bindings.phone.contact, {
        route = bindings.phone.path, call_id = w.a.seen.call_id,
        from_tag = w.a.seen.from_tag,
        headers = { ["Record-Route"] = w.a.seen:header "Record-Route",
          Contact = w.a.seen:header "Contact" },
      })
      w.net:run(1)
      assert.equal(200, onward.code)
      -- the phone hangs up: straight to the other one, past the server
      phone:bye { ua = phone, id = onward.id }
      w.net:run(1)
      assert.equal(1, #other:got "BYE")
      assert.equal(0, #w.a:got "BYE")
    end)

    it("is hung up on by us when its 2xx comes too late", function()
      open { handler = [[
        local res = req:try(a, { timeout = 1 })
        return res and res:forward() or req:reply(500)
      ]] }
      register { headers = { Supported = "path" } }
      phone:on("INVITE", function(_, reply) phone:after(8, function() reply(200) end) end)
      w.net:reload { source = policy.script {
        pool = 'path = "always"', handler = "return req:relay(pbx)" } }
      local call = invite()
      w.a:cancel(call)
      w.net:run(40)
      assert.equal(487, call.code)
      assert.equal(1, #phone:got "BYE")
      assert.equal("sip:phone@192.168.1.20:5060", phone:got("BYE")[1].uri)
    end)
  end)

  describe("given by a script", function()
    local function open_script()
      open { before = [[sip.settings { trust = { "192.0.2.0/24" } }]], handler = [[
        if req.method == "REGISTER" then return req:relay(pbx) end
        return req:relay { uri = "sip:phone@192.168.1.20", path = req:header "X-Path" }
      ]] }
      register()
    end

    local function call(path)
      return w.alice:call(domain, { headers = { ["X-Path"] = path } })
    end

    it("is the flow, too, and the rest of it the Route", function()
      open_script()
      local path = bindings.phone.path[1]
      local first = call(path)
      assert.equal("phone", first.server)
      assert.equal("sip:phone@192.168.1.20", phone:got("INVITE")[1].uri)
      assert.is_nil(phone:got("INVITE")[1]:header "Route")
      assert.equal(200, w.alice:bye(first):wait().code)
      local second = call("<sip:10.0.0.100;lr>, " .. path .. ", <sip:198.51.100.70;lr>")
      assert.equal("phone", second.server)
      assert.same({ "<sip:198.51.100.70;lr>" }, phone:got("INVITE")[2]:list "Route")
      assert.equal(200, phone:bye(second):wait().code)
    end)

    it("leads nowhere when it is forged", function()
      open_script()
      local failed = call((bindings.phone.path[1]:gsub("%x@", "z@")))
      assert.equal(500, failed.code)
      assert.equal(0, #phone:got "INVITE")
      assert.equal(1, bad_tokens())
    end)

    it("is another's when it is not ours, and the URI's when it is only our name", function()
      open_script()
      local other = w.net:uas("198.51.100.70", "other")
      assert.equal("other", call("<sip:198.51.100.70;lr>").server)
      assert.same({ "<sip:198.51.100.70;lr>" }, other:got("INVITE")[1]:list "Route")
      local inside = w.net:uas("192.168.1.20", "inside")
      assert.equal("inside", call("<sip:10.0.0.100;lr>").server)
      assert.is_nil(inside:got("INVITE")[1]:header "Route")
    end)
  end)

  describe("presented by", function()
    it("a stranger, or by the phone itself, is 403", function()
      open()
      register()
      local stranger = w.net:uac("203.0.113.66", "stranger")
      for _, ua in ipairs { stranger, phone } do
        local call = ua:invite("sip:victim@203.0.113.9", { route = bindings.phone.path })
        w.net:run(1)
        assert.equal(403, call.code)
        assert.equal("Flow Not Allowed", call.reason)
      end
      assert.equal(0, #phone:got "INVITE")
      assert.same({ "REGISTER" }, w.said())
    end)

    it("a trusted source reaches the phone, whatever it asks for", function()
      open { before = [[sip.settings { trust = { "203.0.113.0/24" } }]] }
      register()
      local friend = w.net:uac("203.0.113.66", { name = "friend", private = "192.168.7.7" })
      local victim = w.net:uas("203.0.113.9", "victim")
      local call = friend:invite("sip:victim@203.0.113.9", { route = bindings.phone.path })
      w.net:run(1)
      assert.equal("phone", call.server)
      assert.same({}, victim.received)
      assert.equal(200, friend:bye(call):wait().code)
    end)

    it("a dialog's token is no way to call", function()
      open()
      register()
      local call = invite()
      local route = phone:got("INVITE")[1]:list "Record-Route"
      local again = w.a:invite(bindings.phone.contact, { route = route })
      w.net:run(1)
      assert.equal(403, again.code)
      assert.equal("Bad Flow Token", again.reason)
      assert.equal(1, bad_tokens())
      w.a:bye(call):wait()
    end)
  end)

  describe("that is forged or damaged", function()
    local function refused(path)
      local before, sent = bad_tokens(), #phone:got "INVITE"
      local call = w.a:invite("sip:phone@192.168.1.20", { route = { path } })
      w.net:run(1)
      assert.equal(403, call.code, path)
      assert.equal(before + 1, bad_tokens())
      assert.equal(sent, #phone:got "INVITE")
    end

    -- RFC 3327 6.1
    it("is 403, counted, and goes nowhere", function()
      open()
      register()
      local good = bindings.phone.path[1]
      refused((good:gsub("%x@", function(d) return (d == "0@" and "1@" or "0@") end)))
      refused((good:gsub("^(<sip:flow1%-p.....)(%x)", function(head, d)
        return head .. (d == "0" and "1" or "0") end)))
      refused((good:gsub("flow1%-p", "flow1-d")))
      refused((good:gsub("%x%x@", "@")))
      refused "<sip:flow1-@10.0.0.100;lr>"
      refused "<sip:flow1-p@10.0.0.100;lr>"
      refused(("<sip:flow1-p00%s@10.0.0.100;lr>"):format(("0"):rep(200)))
    end)

    it("is a user name when it does not look like one", function()
      open()
      local call = w.alice:invite(domain, { route = { "<sip:flow@10.0.0.100;lr>" } })
      w.net:run(1)
      assert.equal("a", call.server)
      assert.equal(0, bad_tokens())
    end)

    it("in a dialog is ignored: the rest of the route set counts", function()
      open()
      local odd = w.net:uac("198.51.100.9:41003", { name = "odd", private = w.alice.addr })
      local call = odd:call(domain)
      w.net:run(0.1)
      local route = w.a:got("INVITE")[1]:header("Record-Route"):gsub("%x@", "z@")
      local asked = w.a:in_dialog(call, "INFO", { route = { route } }):wait()
      assert.equal("alice", asked.server) -- where its Contact is
      assert.equal(1, bad_tokens())
    end)

    it("and in an ACK is dropped", function()
      open()
      policy.send(w.a, "ACK", "sip:phone@192.168.1.20", {
        route = { "<sip:flow1-p00@10.0.0.100;lr>" } })
      w.net:run(1)
      assert.same({}, phone.received)
      assert.equal(1, w.net:metric("tandem_dropped_total", { reason = "stray_ack" }))
    end)
  end)

  describe("whose flow is gone is 430:", function()
    local function gone()
      return w.net:metric "tandem_flows_gone_total"
    end

    it("we do not listen there any more", function()
      local key = "0123456789abcdef"
      open { key = key }
      register()
      w.net.nodes[1]:power_off()
      local script = policy.script { pool = 'path = "always"' }
      local other = w.net:node { source = script:gsub("5060", "5080"), key = key, name = "other",
        addr = "10.0.0.102" }
      other:take "10.0.0.100"
      local path = bindings.phone.path[1]:gsub(":5060", ":5080")
      local call = w.a:invite(bindings.phone.contact, {
        route = { path }, proxy = "10.0.0.100:5080" })
      w.net:run(1)
      assert.equal(430, call.code)
      assert.equal(1, other:metric "tandem_flows_gone_total")
    end)

    it("the address has moved away from this machine", function()
      open()
      register()
      local path = bindings.phone.path
      w.net.nodes[1]:take "10.0.0.101"
      w.net.nodes[1]:drop "10.0.0.100"
      local call = w.a:invite(bindings.phone.contact, {
        route = { "<sip:10.0.0.101;lr>", (path[1]:gsub("0.100:", "0.101:")) },
        proxy = "10.0.0.101" })
      w.net:run(1)
      assert.equal(430, call.code)
    end)

    it("the network says that nobody is there", function()
      open()
      register()
      phone:refuse()
      local call = invite()
      assert.equal(430, call.code)
      assert(call.elapsed < 0.1)
      assert.equal(1, gone())
    end)

    it("but not when the phone is silent", function()
      open()
      register()
      phone:silence()
      local call = registrar.invite(w.a, bindings.phone):wait()
      assert.equal(500, call.code)
      assert.equal(0, gone())
    end)
  end)

  it("that leads to ourselves is 482", function()
    open { handler = "return req:relay(pbx)",
      after = [[sip.pool("self", { check = false, servers = {
        { name = "me", uri = "sip:10.0.0.100" } } })]] }
    local me = w.net:uac("10.0.0.77", "me")
    assert.equal(200, me:ask("REGISTER", "sip:example.com").code)
    local path = bindings.me.path[1]
    w.net.nodes[1]:take "10.0.0.77"
    local call = w.a:invite("sip:me@192.168.1.1", { route = { path } })
    w.net:run(1)
    assert.equal(482, call.code)
  end)

  -- RFC 5626 5.2
  it("outlives a restart of the proxy", function()
    open { key = "0123456789abcdef" }
    register()
    local call = phone:call(domain)
    w.net.nodes[1]:crash()
    w.net.nodes[1]:start()
    local second = invite()
    assert.equal("phone", second.server)
    for _, one in ipairs { call, second } do
      assert.equal(200, w.a:bye(one):wait().code)
    end
    assert.equal(2, #phone:got "BYE")
  end)

  it("is good at another node with the key that takes the address over", function()
    open { key = "0123456789abcdef" }
    register()
    local call = invite()
    w.net.nodes[1]:power_off()
    local standby = w.net:node { addr = "10.0.0.102", key = "0123456789abcdef", name = "standby" }
    standby:take "10.0.0.100"
    local second = invite()
    assert.equal("phone", second.server)
    assert.equal(200, w.a:bye(call):wait().code)
    assert.equal(200, phone:bye(second):wait().code)
  end)

  it("is worth nothing to a node with another key", function()
    open { key = "0123456789abcdef" }
    register()
    w.net.nodes[1]:power_off()
    local standby = w.net:node { addr = "10.0.0.102", key = "fedcba9876543210", name = "standby" }
    standby:take "10.0.0.100"
    assert.equal(403, invite().code)
    assert.equal(0, #phone:got "INVITE")
  end)

  it("costs the call and nothing else when memory runs out", function()
    open()
    register()
    local node, failed = w.net.nodes[1], 0
    for n = 1, 40 do
      node:fail_alloc(n, { row = 2 })
      local call = registrar.invite(w.a, bindings.phone)
      w.net:run(0.2)
      failed = failed + (node:fail_alloc(0) >= n and 1 or 0)
      call:wait()
      assert(call.code == 200 or call.code == 500, call.code)
      if call.code == 200 then
        assert.equal("phone", call.server)
        w.a:bye(call):wait()
      end
    end
    assert(failed > 5, failed)
  end)
end)
