-- Path on real sockets: a phone behind a NAT registers through us and is called.
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local script = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.settings { state_dir = "%{state}" }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:127.0.0.1:%{server}" } }, check = false, path = "always",
})
sip.route(function(req)
  if not req:relay(pbx) then return req:reply(500) end
end)
]]

-- What the phone takes for its own address; nobody is there.
local inside = "sip:alice@127.0.0.9:9"

describe("a phone behind a NAT", function()
  local port, a, phone, address, values

  before_each(function()
    port, a, phone = process.ports(3)
    address = "127.0.0.1:" .. port
    values = { port = port, server = a, state = process.path "state" }
  end)
  after_each(process.clean)

  -- Its Path, as the server got it.
  local function register()
    local server = sipp.server("registrar", { port = a, calls = 1 })
    local client = sipp.call("register", {
      port = phone, proxy = address, values = { contact = inside } })
    server:succeed()
    local request = server:message "REGISTER"
    assert.equal("<" .. inside .. ">", request:header "Contact")
    assert.equal(request:header "Path", client:message "200 REGISTER":header "Path")
    return request:header "Path"
  end

  -- The Contacts of a scenario become private, as the phone would write them.
  local private = { ["<sip:%{name}@[local_ip]:[local_port]>"] = "<" .. inside .. ">",
    ["<sip:alice@[local_ip]:[local_port]>"] = "<" .. inside .. ">" }

  local function called(caller, callee, path)
    local server = sipp.server(callee, {
      port = phone, calls = 1, values = { ring = 20, hold = 20, name = "phone" },
      replace = private,
    })
    local contact = "      Contact: <sip:alice@[local_ip]:[local_port]>\n"
    local client = sipp.call(caller, {
      port = a, proxy = address, values = { uri = inside, hold = 20 },
      replace = { [contact] = "      Route: " .. path .. "\n" .. contact },
    })
    server:succeed()
    return client, server
  end

  it("is called by its server, which hangs up", function()
    proxy.start { source = script, values = values }
    local path = register()
    assert.matches("^<sip:flow1%-p%x+@127.0.0.1:" .. port .. ";lr>$", path)
    local _, server = called("call", "answer", path)
    assert.same({ "INVITE", "ACK", "BYE" }, server:got())
    assert.matches("^INVITE " .. inside .. " ", server:message "INVITE".text)
    assert.is_nil(server:message "INVITE":header "Route")
  end)

  it("is called by its server, and hangs up", function()
    proxy.start { source = script, values = values }
    local client = called("call_ended", "answer_and_end", register())
    assert.same("BYE", client:got()[#client:got()])
  end)

  it("is called after a restart of the proxy", function()
    local first = proxy.start { source = script, values = values }
    local path = register()
    assert.is_nil(first:stop())
    proxy.start { source = script, values = values, name = "second" }
    local _, server = called("call", "answer", path)
    assert.same({ "INVITE", "ACK", "BYE" }, server:got())
  end)

  it("calls, and its server re-INVITEs and hangs up", function()
    proxy.start { source = script, values = values }
    for caller, callee in pairs { call_ended = "answer_and_end",
      renegotiate = "renegotiate_server" } do
      local server = sipp.server(callee, {
        port = a, calls = 1, values = { hold = 20, name = "a", ring = 0 } })
      sipp.call(caller, { port = phone, proxy = address, values = { hold = 20 },
        replace = private })
      server:succeed()
    end
  end)
end)
