-- TCP in the built program: strangers that come in pieces, and servers that refuse.
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

-- Seconds: no timer was involved, whatever else the machine does.
local at_once = 0.4

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}", "tcp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", { check = false, servers = {
  { name = "a", uri = "sip:127.0.0.1:%{a};transport=tcp", tier = 1 },
  { name = "b", uri = "sip:127.0.0.1:%{b}", tier = 2 },
} })
sip.route("OPTIONS", function(req) return req:reply(200) end)
sip.route(function(req) return req:relay(pbx) end)
]]

local function options(id)
  return table.concat({
    "OPTIONS sip:127.0.0.1 SIP/2.0",
    "Via: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK" .. id .. ";rport",
    "From: <sip:a@example.com>;tag=1", "To: <sip:127.0.0.1>", "Call-ID: " .. id,
    "CSeq: 1 OPTIONS", "Max-Forwards: 70", "Content-Length: 0", "", "",
  }, "\r\n")
end

-- What comes back on one connection for these pieces, sent one after the other.
local function ask(port, pieces)
  local parts = {}
  for i, piece in ipairs(pieces) do
    parts[i] = "cat " .. process.write("piece" .. i, piece) .. " >&3; sleep 0.1"
  end
  local _, output = sh.run(("bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d; %s; timeout 0.5 cat <&3'")
    :format(port, table.concat(parts, "; ")))
  return output
end

describe("TCP", function()
  local port, a, b, tandem

  before_each(function()
    port, a, b = process.ports(3)
    tandem = proxy.start { source = source, values = { port = port, a = a, b = b } }
  end)
  after_each(process.clean)

  it("answers a stranger on its connection, in whatever pieces it comes", function()
    local text = options "one" .. options "two"
    local output = ask(port, { text:sub(1, 30), text:sub(31, 400), text:sub(401) })
    local _, answers = output:gsub("SIP/2.0 200 ", "")
    assert.equal(2, answers, output)
    assert.equal("in", tandem:wait_logged("flow.up").direction)
    assert.equal("closed", tandem:wait_logged("flow.down").cause)
  end)

  it("answers a keep-alive", function()
    assert.equal("\r\n", ask(port, { "\r\n\r\n" }))
  end)

  it("ends a connection that makes no sense", function()
    ask(port, { "GET / HTTP/1.1\r\n\r\n" })
    assert.equal("framing", tandem:wait_logged("flow.down").cause)
  end)

  it("takes a refused connection for an answer, at once", function()
    sipp.server("answer", { name = "b", port = b, values = { ring = 0 } })
    local call = sipp.call("call", { proxy = "127.0.0.1:" .. port, values = { hold = 0 } })
    local seconds = call:between("INVITE", "200 INVITE")
    io.write(("\nrefused: answered by the backup after %.1f ms\n"):format(seconds * 1000))
    assert(seconds < at_once, seconds)
    local line = tandem:wait_logged("request", { method = "INVITE" })
    assert.matches("^pbx/a:refused:[^,]*,pbx/b:200:", line.tried)
    assert.equal("refused", tandem:wait_logged("flow.down", { direction = "out" }).cause)
  end)

  it("carries a call to a server, and all of it on one connection", function()
    sipp.server("answer", { name = "a", port = a, values = { ring = 0 }, protocol = "tcp",
      args = { "-t", "t1" },
      replace = { ["[local_port]"] = "[local_port];transport=tcp" } })
    sipp.call("call", { proxy = "127.0.0.1:" .. port, values = { hold = 100 } })
    assert.equal(1, #tandem:logged("flow.up", { direction = "out" }))
  end)
end)

describe("a listener", function()
  after_each(process.clean)

  it("that cannot be opened is named", function()
    local alone = [[
local sip = require "tandem"
sip.listen { "tcp:127.0.0.1:%{port}" }
sip.route(function(req) return req:reply(404) end)
]]
    local port = process.ports(1)
    local values = { port = port }
    proxy.start { source = alone, values = values, name = "first" }
    local second = proxy.launch { source = alone, values = values, name = "second" }
    second.expected = 1
    assert.equal(1, second:wait())
    assert.matches("cannot listen on tcp:127.0.0.1:" .. port .. ": Address already in use",
      second:output())
  end)
end)
