-- Semantics 4: what becomes of the Request-URI, of Route and of edits.
local sim = require "support.sim"
local policy = require "support.policy"

local uri = "sip:bob@example.com;user=phone"
local trusted = 'sip.settings { trust = { "192.0.2.0/24" }, domains = { "example.org" } }'

sim.for_workers("the Request-URI", function(workers)
  after_each(sim.finish)

  local w

  local function open(handler, more)
    more = more or {}
    more.workers, more.handler = workers, handler
    w = policy.world(more)
  end

  local function invite(ua)
    return ua:got("INVITE")[1]
  end

  describe("at a server, which is a next hop", function()
    -- RFC 3261 16.6 step 2
    it("stays as received, and no Route is added", function()
      open "return req:relay(pbx)"
      assert.equal(200, w.alice:call(uri).code)
      assert.equal(uri, invite(w.a).uri)
      assert.same({}, invite(w.a):all "Route")
    end)

    it("stays when it names somebody else's address", function()
      open "return req:relay(pbx)"
      w.alice:call "sip:bob@203.0.113.9:5099"
      assert.equal("sip:bob@203.0.113.9:5099", invite(w.a).uri)
    end)

    it("stays with a Route that goes on behind the server, which stays too", function()
      open("return req:relay(pbx)", { before = trusted })
      local behind = { "<sip:10.9.9.1;lr>", "<sip:10.9.9.2;lr>" }
      w.alice:invite(uri, { route = behind, proxy = w.net.proxy })
      w.net:run(0.1)
      assert.equal(uri, invite(w.a).uri)
      assert.same(behind, invite(w.a):list "Route")
    end)

    it("loses a Route that names us, and only that", function()
      open("return req:relay(pbx)", { before = trusted })
      w.alice:invite(uri, { route = { "<sip:10.0.0.100;lr>", "<sip:10.9.9.1;lr>" } })
      w.net:run(0.1)
      assert.same({ "<sip:10.9.9.1;lr>" }, invite(w.a):list "Route")
    end)

    it("is what the script made of it", function()
      open [[
        req.ruri = "sip:carol@example.net;x=1"
        return req:relay(pbx)
      ]]
      w.alice:call(uri)
      assert.equal("sip:carol@example.net;x=1", invite(w.a).uri)
    end)

    it("can be edited in parts, the others stay as they were written", function()
      open [[
        req.ruri.user = "49" .. req.ruri.user
        req.ruri.host, req.ruri.port = "pbx.example.net", 5070
        req.ruri.params.user = nil
        req.ruri.params.transport = "udp"
        return req:relay(pbx)
      ]]
      w.alice:call "sip:555%31;ext=7@example.com;user=phone;a=b"
      -- the user reads as what it means, so that is what is written
      assert.equal("sip:495551;ext=7@pbx.example.net:5070;a=b;transport=udp",
        invite(w.a).uri)
    end)
  end)

  describe("with `rewrite` of the server", function()
    local function rewriting(how)
      return ([[
        local sip = require "tandem"
        sip.listen { "udp:0.0.0.0:5060" }
        local pbx = sip.pool("pbx", { check = false, servers = {
          { name = "a", uri = "sip:10.0.0.1:5060;transport=udp", tier = 1, rewrite = "%s" },
          { name = "b", uri = "sip:10.0.0.2", tier = 2 } } })
        sip.route(function(req)
          req:set_header("X-Edit", "yes")
          return req:relay(pbx, { timeout = 1 })
        end)
      ]]):format(how)
    end

    it("= host has the server's host and port, in this attempt only", function()
      w = policy.world { source = rewriting "host", workers = workers }
      w.a:silence()
      w.alice:call "sip:bob@example.com:5099;user=phone"
      assert.equal("sip:bob@10.0.0.1:5060;user=phone", invite(w.a).uri)
      assert.equal("sip:bob@example.com:5099;user=phone", invite(w.b).uri)
    end)

    it("= uri is the server's URI, in this attempt only", function()
      w = policy.world { source = rewriting "uri", workers = workers }
      w.a:silence()
      w.alice:call(uri)
      assert.equal("sip:10.0.0.1:5060;transport=udp", invite(w.a).uri)
      assert.equal(uri, invite(w.b).uri)
      assert.equal("yes", invite(w.a):header "X-Edit")
    end)
  end)

  describe("at a URI", function()
    it("is that URI", function()
      open("return req:try('sip:carol@10.0.0.3;x=2'):forward()", { before = trusted })
      assert.equal(200, w.alice:call(uri).code)
      assert.equal("sip:carol@10.0.0.3;x=2", invite(w.c).uri)
      assert.same({}, invite(w.c):all "Route")
    end)

    it("of a binding has its Path as Route, which is the next hop", function()
      open([[
        local binding = { uri = "sip:carol@192.168.1.9", path = "<sip:10.0.0.3;lr;flow=7>" }
        return req:try(binding):forward()
      ]], { before = trusted })
      assert.equal(200, w.alice:call(uri).code)
      assert.equal("sip:carol@192.168.1.9", invite(w.c).uri)
      assert.same({ "<sip:10.0.0.3;lr;flow=7>" }, invite(w.c):list "Route")
    end)

    it("has that Path above a Route of the caller", function()
      open([[
        return req:try({ uri = "sip:carol@192.168.1.9", path = "<sip:10.0.0.3;lr>" }):forward()
      ]], { before = trusted })
      w.alice:invite(uri, { route = { "<sip:10.9.9.1;lr>" }, proxy = w.net.proxy })
      w.net:run(0.1)
      assert.same({ "<sip:10.0.0.3;lr>", "<sip:10.9.9.1;lr>" }, invite(w.c):list "Route")
    end)

    it("is the received one again at the next server", function()
      open([[
        local res = req:try("sip:carol@10.0.0.3")
        if res.code == 404 then res = req:try(a) end
        return res:forward()
      ]], { before = trusted })
      w.c:answer("INVITE", 404)
      assert.equal(200, w.alice:call(uri).code)
      assert.equal(uri, invite(w.a).uri)
      assert.same({}, invite(w.a):all "Route")
    end)

    it("that needs DNS fails like any attempt", function()
      open([[
        local res, err, detail = req:try("sip:carol@example.org")
        say(res, err, detail.cause)
        return req:reply(500)
      ]], { before = trusted })
      assert.equal(500, w.alice:call(uri).code)
      assert.same({ "nil transport dns_none" }, w.said())
    end)
  end)

  describe("and other edits", function()
    local edits = [[
      req:set_header("X-First", "1")
      req:del_header("Subject")
      req.ruri.user = "carol"
      local res = req:try(a, { timeout = 1 })
      if res then return res:forward() end
      req:set_header("X-Second", "2")
      req:add_header("X-First", "again")
      req.body = "new"
      return req:relay(b)
    ]]

    it("are in every later attempt and in no earlier one (checklist 49)", function()
      open(edits)
      w.a:silence()
      w.alice:call(uri, { headers = { Subject = "lunch" } })
      local first, second = invite(w.a), invite(w.b)
      assert.equal("sip:carol@example.com;user=phone", first.uri)
      assert.equal(first.uri, second.uri)
      assert.same({ "1" }, first:all "X-First")
      assert.same({ "1", "again" }, second:all "X-First")
      assert.is_nil(first:header "X-Second")
      assert.equal("2", second:header "X-Second")
      assert.is_nil(first:header "Subject")
      assert.is_nil(second:header "Subject")
      assert.equal(3, #second.body)
      assert.equal("3", second:header "Content-Length")
      assert.not_equal("new", first.body)
    end)

    it("leave what makes the request: each attempt starts from the one received", function()
      open(edits)
      w.a:silence()
      local call = w.alice:call(uri)
      local first, second = invite(w.a), invite(w.b)
      assert.same({ "69", "69" }, policy.headers({ first, second }, "Max-Forwards"))
      assert.equal(2, #first:list "Via")
      assert.equal(2, #second:list "Via")
      assert.equal(1, #first:list "Record-Route")
      assert.equal(1, #second:list "Record-Route")
      assert.not_equal(first.branch, second.branch)
      for _, name in ipairs { "From", "To", "Call-ID", "CSeq", "Contact" } do
        assert.equal(first:header(name), second:header(name), name)
      end
      assert.equal(call.id, second.call_id)
    end)

    it("leave every other byte of the request alone", function()
      open "return req:relay(pbx)"
      local folded = "INVITE sip:bob@example.com SIP/2.0\r\n"
        .. "v: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKx1\r\n"
        .. "X-Odd:   a ,\r\n  b\r\nmax-forwards: 9\r\n"
        .. "f: \"A \\\" B\" <sip:alice@192.0.2.7>;tag=1\r\nt: <sip:bob@example.com>\r\n"
        .. "i: bytes\r\nCSeq:  7   INVITE\r\nm: <sip:alice@192.0.2.7>\r\nl: 5\r\n\r\nhello"
      w.a:answer("INVITE", 486)
      w.alice:send(folded)
      w.net:run(40)
      local sent = invite(w.a).bytes
      for _, part in ipairs { "X-Odd:   a ,\r\n  b\r\n", "\r\nMax-Forwards: 8\r\n",
        'f: "A \\" B" <sip:alice@192.0.2.7>;tag=1\r\n', "CSeq:  7   INVITE\r\n",
        "l: 5\r\n", "\r\n\r\nhello" } do
        assert(sent:find(part, 1, true), part .. " in\n" .. sent)
      end
    end)

    it("are refused where transactions and dialogs live", function()
      for _, name in ipairs { "Via", "From", "t", "Call-ID", "CSeq", "Content-Length",
        "Max-Forwards", "Record-Route" } do
        open(('req:set_header("%s", "1")'):format(name))
        assert.equal(500, w.alice:call(uri).code)
        assert.matches("header [%w-]+ belongs to the proxy", policy.failure(w.net).error)
        w.net:finish { errors = 1 }
      end
    end)
  end)
end)
