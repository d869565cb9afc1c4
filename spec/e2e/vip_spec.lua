-- A virtual address against a real kernel: it is not ours, comes, and goes again. In a
-- network of the spec's own, for only there addresses can be given and taken.
local netns = require "support.netns"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "%{transport}:%{vip}:%{port}", "%{transport}:%{own}:%{port}" }
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:%{a}:%{port};transport=%{transport}", tier = 1 },
    { name = "b", uri = "sip:%{b}:%{port};transport=%{transport}", tier = 2 },
  },
  check = { interval = 0.3, fast_interval = 0.3, timeout = 0.2, fall = %{fall}, rise = 1 },
  passive = { fall = 1 }, failback = { hold = 0 },
})
sip.route(function(req)
  if req.ruri.user == "busy" then return req:reply(486) end
  if not req:relay(pbx, { timeout = 1 }) then return req:reply(500) end
end)
]]

local families = {
  IPv4 = { own = "10.9.0.11", vip = "10.9.0.100", a = "10.9.0.1", b = "10.9.0.2",
    phone = "10.9.0.7", bits = "/32" },
  IPv6 = { own = "[fd00:9::11]", vip = "[fd00:9::100]", a = "[fd00:9::1]",
    b = "[fd00:9::2]", phone = "[fd00:9::7]", bits = "/128" },
}

local function suite(family, transport)
  local address = families[family]

  describe(("a virtual address, %s over %s"):format(transport, family), function()
    local net, tandem, server
    local port = 5060 -- nobody else is in there
    local args = transport == "tcp" and { "-t", "t1" } or {}
    -- sipp is deaf for a second when one of its connections is reset.
    local fall = transport == "tcp" and 6 or 1

    local function bare(ip)
      return ip:gsub("[%[%]]", "")
    end

    local function ip(verb, which)
      net:ip(("addr %s %s%s dev lo%s"):format(verb, bare(address[which]), address.bits,
        verb == "add" and family == "IPv6" and " nodad" or ""))
    end

    local function start_server(which)
      server[which] = sipp.server("answer", {
        name = which, host = bare(address[which]), port = port, inside = net, args = args,
        protocol = transport, values = { ring = 0, name = which },
        replace = { ["[local_port]>"] = "[local_port];transport=" .. transport .. ">" },
      })
    end

    local function await_health(which, state)
      tandem:wait_logged("server.health", { server = which, to = state })
    end

    -- Which server a call met, after which attempts.
    local function call(to, label)
      local client = sipp.call("call", {
        name = label, host = bare(address.phone), port = 5070, inside = net, args = args,
        proxy = address[to] .. ":" .. port, values = { hold = 0 },
      })
      local id = client:message "INVITE":header "Call%-ID"
      return tandem:wait_logged("request", { call_id = id }).tried
    end

    -- Where the server was spoken to from: of these messages, each once.
    local function vias(which, key)
      local seen, list = {}, {}
      for _, message in ipairs(server[which]:messages()) do
        local host = message.text:match "\nVia: SIP/2.0/%u+ (%S-):5060;"
        if message.key == key and not message.sent and not seen[host] then
          seen[host] = true
          list[#list + 1] = host
        end
      end
      return list
    end

    local function open()
      for _, which in ipairs { "own", "a", "b", "phone" } do
        ip("add", which)
      end
      server = {}
      start_server "a"
      start_server "b"
      local values = { port = port, transport = transport, fall = fall }
      for which, text in pairs(address) do
        values[which] = text
      end
      -- One worker: its connections to servers are counted.
      tandem = proxy.start { source = source, values = values, inside = net, workers = 1 }
    end

    after_each(process.clean)

    it("that arrives finds a standby that knows its servers", function()
      local why
      net, why = netns.open()
      if not net then
        return pending(why)
      end
      open()
      assert.equal(1, #tandem:logged("listener.address", { state = "elsewhere" }))
      await_health("a", "up")
      server.a:kill()
      await_health("a", "down")
      assert.same({ address.own }, vias("b", "OPTIONS"))
      ip("add", "vip")
      tandem:wait_logged("listener.address", { state = "here" })
      assert.matches("^pbx/b:200:", call("vip", "first"))
      assert.same({ address.vip }, vias("b", "INVITE"))
    end)

    it("that goes takes no server with it", function()
      local why
      net, why = netns.open()
      if not net then
        return pending(why)
      end
      ip("add", "vip")
      open()
      await_health("a", "up")
      await_health("b", "up")
      assert.matches("^pbx/a:200:", call("vip", "before"))
      ip("del", "vip")
      tandem:wait_logged("listener.address", { state = "elsewhere" })
      if transport == "tcp" then
        tandem:wait_logged("flow.down", { direction = "out", cause = "no_source" })
      end
      process.eventually(5, function() return #vias("a", "OPTIONS") > 1 end)
      process.sleep(0.5) -- and another round of checks
      assert.same({ address.vip, address.own }, vias("a", "OPTIONS"))
      for _, which in ipairs { "a", "b" } do
        assert.same({}, tandem:logged("server.health", { server = which, to = "down" }))
        assert.same({}, tandem:logged("server.health", { server = which, reason = "no_source" }))
      end
      assert.matches("^pbx/a:200:", call("own", "after"))
      assert.same({ address.vip, address.own }, vias("a", "INVITE"))
    end)
  end)
end

describe("a proxy that was stopped, and whose address has gone meanwhile,", function()
  after_each(process.clean)

  local net, tandem

  -- opts: binary, env; nil and why not, when the kernel does not let us.
  local function open(opts)
    local why
    net, why = netns.open()
    if not net then
      return nil, why
    end
    net:ip "addr add 10.9.0.11/32 dev lo"
    net:ip "addr add 10.9.0.100/32 dev lo"
    tandem = proxy.start {
      inside = net, source = (source:gsub("check = %b{}", "check = false")),
      values = { transport = "udp", vip = "10.9.0.100", own = "10.9.0.11", port = 5060,
        a = "10.9.0.1", b = "10.9.0.2", fall = 1 },
      binary = opts.binary, env = opts.env,
    }
    return true
  end

  local function invite(user, more)
    local name = process.write("invite", table.concat({
      "INVITE sip:" .. user .. "@example.com SIP/2.0",
      "Via: SIP/2.0/UDP 10.9.0.11:5070;branch=z9hG4bKstopped" .. user,
      "From: <sip:alice@example.net>;tag=1", "To: <sip:bob@example.com>",
      "Call-ID: stopped", "CSeq: 1 INVITE", "Max-Forwards: 70", more, "Content-Length: 0", "",
      "" }, "\r\n"))
    net:run("bash -c 'cat " .. name .. " >/dev/udp/10.9.0.100/5060'")
  end

  local function assert_refuses_nothing()
    assert.equal(0, tandem:wait_logged("request", { call_id = "stopped" }).code)
  end

  it("knows that before it handles what had come", function()
    local ok, why = open {}
    if not ok then
      return pending(why)
    end
    tandem:signal "STOP"
    invite("bob", "Subject: stopped")
    net:ip "addr del 10.9.0.100/32 dev lo"
    tandem:signal "CONT"
    assert_refuses_nothing()
  end)

  for what, request in pairs {
    ["it had just read, to be relayed"] = { "bob", "X-Hang: 2" },
    ["it had just read, to be refused by the script"] = { "busy", "X-Hang: 2" },
    ["it was about to send"] = { "bob", "X-Hang-Sending: 2" },
  } do
    it("knows that of what " .. what, function()
      local _, here = sh.run "pwd"
      local ok, why = open { binary = "build/tandem",
        env = ("LD_PRELOAD=%s/build/hang.so"):format(here:gsub("\n", "")) }
      if not ok then
        return pending(why)
      end
      invite(request[1], request[2])
      net:ip "addr del 10.9.0.100/32 dev lo"
      assert_refuses_nothing()
    end)
  end
end)

for _, family in ipairs { "IPv4", "IPv6" } do
  for _, transport in ipairs { "udp", "tcp" } do
    suite(family, transport)
  end
end
