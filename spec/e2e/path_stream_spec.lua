-- Phones that register over connections and are called on them (Path, semantics 14). The
-- phone is baresip; its server is sipp, which sends to the Path that it was given.
local certs = require "support.certs"
local phone = require "support.phone"
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { %{listen} }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:127.0.0.1:%{server}" } }, check = false, path = "always",
})
sip.route(function(req)
  if not req:relay(pbx) then return req:reply(500) end
end)
]]

for _, transport in ipairs { "tcp", "tls" } do
  describe("a phone on " .. transport, function()
    local port, door, a, tandem, alice
    -- What the registrar knows of it.
    local contact, path

    -- The server is on UDP, the phone has a listener of its own.
    local function start()
      local ca = certs.authority "ca"
      port, door, a = process.ports(3)
      local listen = ('"udp:127.0.0.1:%d", { "%s:127.0.0.1:%d"'):format(port, transport, door)
      if transport == "tls" then
        ca:issue("proxy", { ips = { "127.0.0.1" } })
        listen = listen .. ', cert = "proxy.pem", key = "proxy.key"'
      end
      tandem = proxy.start { source = source,
        values = { listen = listen .. " }", server = a } }
      local registrar = sipp.server("registrar", { port = a, calls = 1 })
      alice = phone.start { user = "alice", transport = transport, ca = ca,
        proxy = "127.0.0.1:" .. door }
      alice:await_registered()
      registrar:succeed()
      local request = registrar:message "REGISTER"
      path = table.concat(request:values "Path", ", ")
      contact = request:header "Contact":match "<(.-)>"
    end

    after_each(process.clean)

    -- Who sent us, or was sent by us, such a request.
    local function peer(dir, method)
      for _, event in ipairs(tandem:logged("sip.message", { dir = dir })) do
        if event.line:find("^" .. method .. " ") then
          return event.peer
        end
      end
    end

    -- The call went where the REGISTER had come from.
    local function assert_own_connection()
      local phone_at = peer("in", "REGISTER")
      assert.equal(phone_at, peer("out", "INVITE"))
      assert.equal(phone_at, peer("out", "ACK"))
      assert.same({}, tandem:logged("flow.up", { direction = "out" }))
    end

    -- Its server calls it: a scenario until its end.
    local function called(scenario, options)
      options.port, options.proxy = a, "127.0.0.1:" .. port
      options.values = { uri = contact, hold = 100, code = 430 }
      local own_contact = "      Contact: <sip:alice@[local_ip]:[local_port]>\n"
      options.replace = { [own_contact] = "      Route: " .. path .. "\n" .. own_contact }
      return sipp.start(scenario, options)
    end

    it("is called, and its server hangs up", function()
      start()
      local client = called("call", {})
      client:succeed()
      local routes = client:message "200 INVITE":header "Record%-Route"
      assert.matches(":" .. door .. ";", routes)
      assert_own_connection()
    end)

    it("is called, and hangs up", function()
      start()
      local client = called("call_ended", {})
      process.eventually(5, function() return client:message "200 INVITE" end)
      alice:tell "hangup"
      client:succeed()
      assert.is_truthy(client:message "BYE")
      assert_own_connection()
    end)

    it("is gone: 430", function()
      start()
      alice:kill()
      local client = called("refused", {})
      client:succeed()
    end)
  end)
end
