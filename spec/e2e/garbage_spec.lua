-- Datagrams that are no SIP, or hardly.
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local relay = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:127.0.0.1:%{server}" } }, check = false,
})
sip.route(function(req)
  if not req:relay(pbx) then return req:reply(500) end
end)
]]

describe("bad datagrams", function()
  local port, a, tandem

  before_each(function()
    port, a = process.ports(2)
    tandem = proxy.start { source = relay, values = { port = port, server = a } }
    sipp.server("answer", { name = "a", port = a, values = { ring = 0 } })
  end)
  after_each(process.clean)

  local function call_works(name)
    sipp.call("call", { name = name, proxy = "127.0.0.1:" .. port, values = { hold = 20 } })
  end

  local function request(line, headers, body)
    return table.concat({
      line, "Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKbad;rport", "Max-Forwards: 70",
      "From: <sip:x@127.0.0.1>;tag=1", "To: <sip:bob@example.com>", "Call-ID: bad@127.0.0.1",
    }, "\r\n") .. "\r\n" .. headers .. "\r\n" .. (body or "")
  end

  it("do no harm, and the next call works", function()
    local invite = request("INVITE sip:bob@example.com SIP/2.0", "CSeq: 1 INVITE\r\n")
    local random = assert(io.open("/dev/urandom", "rb"))
    local bad = {
      "\0", "\r\n\r\n", "x", ("\0"):rep(65000), random:read(1400), random:read(65000),
      "INVITE", "INVITE sip:bob@example.com SIP/2.0", "SIP/2.0 200 OK\r\n\r\n", "SIP/2.0",
      "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:" .. port .. ";branch=z9hG4bK1\r\n\r\n",
      -- 65 kB of tiny headers, alone and as the end of a request
      "INVITE sip:b@h SIP/2.0\r\n" .. ("a:\r\n"):rep(16300),
      invite:sub(1, -3) .. ("a:\r\n"):rep(16000) .. "\r\n",
      invite:sub(1, -3) .. ("Via:,,\r\n"):rep(8000) .. "\r\n",
      invite:sub(1, -3) .. "X: " .. ("x"):rep(65000) .. "\r\n\r\n",
      request("INVITE sip:bob@example.com SIP/2.0", "CSeq: 1 INVITE\r\nContent-Length: 900\r\n"),
      request("INVITE sip:bob@example.com SIP/2.0",
        "CSeq: 1 INVITE\r\nContent-Length: 4294967301\r\n", "abcde"),
      request("INVITE sip:[::1 SIP/2.0", "CSeq: 1 INVITE\r\n"),
      request("INVITE sip:bob@example.com SIP/3.0", "CSeq: 1 INVITE\r\n"),
      request("INVITE sip:bob@example.com SIP/2.0", "CSeq: 99999999999 INVITE\r\n"),
    }
    random:close()
    for cut = 1, #invite, 37 do
      bad[#bad + 1] = invite:sub(1, cut)
    end
    call_works "before"
    for _, bytes in ipairs(bad) do
      process.send(port, bytes)
    end
    call_works "after"
    assert.is_false(tandem:ended())
  end)

  it("that can be answered are answered with 400", function()
    local answer = process.ask(port, request("OPTIONS sip:bob@example.com SIP/2.0",
      "CSeq: 1 INVITE\r\n"), 0.3)
    assert.truthy(answer:find("^SIP/2.0 400 "), answer)
    call_works "after"
  end)
end)
