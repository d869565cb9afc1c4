-- Whole calls, in both directions, and what happens inside of them.
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local relay = [[
local sip = require "tandem"
sip.listen { %{listen} }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:%{server}" } }, check = false,
})
sip.route(function(req)
  if not req:relay(pbx) then return req:reply(500) end
end)
]]

-- How many proxies and callers a message has passed.
local function vias(message)
  return select(2, message.text:gsub("\nVia:", ""))
end

describe("a call", function()
  local port, a, phone, address

  before_each(function()
    port, a, phone = process.ports(3)
    address = "127.0.0.1:" .. port
    proxy.start { source = relay, values = {
      listen = ('"udp:%s"'):format(address), server = "127.0.0.1:" .. a,
    } }
  end)
  after_each(process.clean)

  -- Both sides until their ends; `called` is the scenario at `at`.
  local function run(caller, called, at, values)
    local server = sipp.server(called, {
      port = at, calls = 1, values = { ring = 20, hold = 20, name = "called" },
    })
    values.hold = 20
    local client = sipp.call(caller, {
      port = at == a and phone or a, proxy = address, values = values,
    })
    server:succeed()
    return client, server
  end

  it("from a phone, hung up by the phone", function()
    local client, server = run("call", "answer", a, {})
    assert.same({ "INVITE", "ACK", "BYE" }, server:got())
    for _, key in ipairs { "INVITE", "ACK", "BYE" } do
      assert.equal(2, vias(server:message(key)), key)
      assert.equal("69", server:message(key):header "Max%-Forwards", key)
    end
    assert.truthy(server:message "INVITE":header "Record%-Route":find(address, 1, true))
    assert.is_nil(server:message "BYE":header "Route")
    assert.equal(1, vias(client:message "200 INVITE"))
  end)

  it("from a phone, hung up by the server", function()
    local client = run("call_ended", "answer_and_end", a, {})
    assert.equal(2, vias(client:message "BYE"))
    assert.is_nil(client:message "BYE":header "Route")
  end)

  -- RFC 6141
  it("from a phone, with re-INVITEs from both sides", function()
    local client, server = run("renegotiate", "renegotiate_server", a, {})
    assert.equal(2, vias(client:message("INVITE", 3)))
    assert.equal(2, server:count "INVITE")
    assert.equal(2, server:count "ACK")
  end)

  -- RFC 3262, RFC 3311
  it("with reliable provisionals and an UPDATE", function()
    local client, server = run("reliable", "reliable_server", a, {})
    assert.same({ "INVITE", "PRACK", "UPDATE", "ACK", "BYE" }, server:got())
    for _, key in ipairs { "PRACK", "UPDATE" } do
      assert.equal(2, vias(server:message(key)), key)
    end
    assert.equal("4711", client:message "183 INVITE":header "RSeq")
  end)

  it("from a server to a phone, hung up by the server", function()
    local _, server = run("call", "answer", phone, { uri = "sip:bob@127.0.0.1:" .. phone })
    assert.same({ "INVITE", "ACK", "BYE" }, server:got())
    assert.equal(2, vias(server:message "BYE"))
    assert.truthy(server:message "INVITE".text:find("INVITE sip:bob@127.0.0.1:", 1, true))
  end)

  it("from a server to a phone, hung up by the phone", function()
    local client = run("call_ended", "answer_and_end", phone,
      { uri = "sip:bob@127.0.0.1:" .. phone })
    assert.equal(2, vias(client:message "BYE"))
  end)

  it("from a server to a phone, with re-INVITEs from both sides", function()
    local client = run("renegotiate", "renegotiate_server", phone,
      { uri = "sip:bob@127.0.0.1:" .. phone })
    assert.equal(2, vias(client:message("INVITE", 3)))
  end)

  it("from a phone goes to the pool, wherever its Request-URI points", function()
    local other = sipp.server("silent", { port = phone })
    local server = sipp.server("answer", { port = a, calls = 1, values = { ring = 0 } })
    sipp.call("call", { proxy = address, values = {
      hold = 20, uri = "sip:bob@127.0.0.1:" .. phone,
    } })
    server:succeed()
    assert.same({}, other:got())
  end)
end)

describe("listeners", function()
  after_each(process.clean)

  it("on IPv6 only", function()
    local port, a = process.ports(2)
    proxy.start { source = relay, values = {
      listen = ('"udp:[::1]:%d"'):format(port), server = "[::1]:" .. a,
    } }
    local server = sipp.server("answer_and_end", {
      host = "::1", port = a, calls = 1, values = { hold = 20, name = "a" },
    })
    local client = sipp.call("call_ended", { host = "::1", proxy = "[::1]:" .. port })
    server:succeed()
    assert.truthy(server:message "INVITE":header "Via":find("[::1]:" .. port, 1, true))
    assert.equal(2, vias(client:message "BYE"))
  end)

  it("of several addresses and families, each with its own name on the wire", function()
    local first, second, third, a = process.ports(4)
    local listen = ('"udp:127.0.0.1:%d", "udp:127.0.0.2:%d", "udp:[::1]:%d"')
      :format(first, second, third)
    proxy.start { source = relay, values = { listen = listen, server = "127.0.0.1:" .. a } }
    local server = sipp.server("answer", { port = a, values = { ring = 0, name = "a" } })

    local function call(host, to, via, routes)
      local client = sipp.call("call", {
        name = to:gsub("%W", ""), host = host, proxy = to, values = { hold = 20 },
      })
      local id = client:message "INVITE":header "Call%-ID"
      for _, m in ipairs(server:messages()) do
        if not m.sent and m:header "Call%-ID" == id then
          assert.truthy(m:header "Via":find(via, 1, true), m.text)
          assert.equal(2, vias(m), m.text)
        end
      end
      local answer = client:message "200 INVITE"
      assert.equal(routes, select(2, answer.text:gsub("<sip:[^>]*;lr[^>]*>", "")), answer.text)
    end
    call("127.0.0.1", "127.0.0.1:" .. first, "127.0.0.1:" .. first, 1)
    call("127.0.0.1", "127.0.0.2:" .. second, "127.0.0.2:" .. second, 1)
    call("::1", "[::1]:" .. third, "127.0.0.1:" .. first, 2)
    assert.equal(3, server:count "BYE")
  end)
end)
