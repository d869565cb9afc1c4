-- Messages that are nearly SIP, those of RFC 4475 and what scanners send, a thousand a second,
-- at the program that users run, while calls come in: no call notices.
-- TANDEM_ATTACK=n: for n seconds (`make attack`).
local hostile = require "support.hostile"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"
local sockets = require "support.sockets"
local torture = require "support.torture"

local seconds = tonumber(os.getenv "TANDEM_ATTACK" or "") or 3
local pace, rate = 1000, 50 -- messages and calls a second
local t1 = 0.1 -- so that what is remembered for 64*T1 is gone soon

-- What strangers send goes to a port where nobody listens: that is refused by ICMP.
local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.settings { timers = { t1 = %{t1} }, trust = { "127.0.0.2" } }
local pbx = sip.pool("pbx", { check = false, passive = false,
  servers = { { name = "a", uri = "sip:127.0.0.1:%{a}" } } })
local nobody = sip.pool("nobody", { check = false, passive = false,
  servers = { { name = "b", uri = "sip:127.0.0.1:%{b}" } } })
sip.route(function(req)
  req:del_header "X-Header"
  return req:relay(req.source.ip == "127.0.0.2" and nobody or pbx)
end)
]]

describe("a thousand hostile messages a second", function()
  after_each(function()
    sockets.close()
    process.clean()
  end)

  -- In turns: out of the grammar, of a scanner, of the RFC.
  local function messages()
    local rfc = {}
    for _, name in ipairs(assert(sh.lines "ls spec/fixtures/torture/*.dat")) do
      rfc[#rfc + 1] = torture.read(name:match "^spec/fixtures/(.*)%.dat$")
    end
    local numbers = hostile.sample(hostile.count "request", math.ceil(seconds * pace), 11)
    return function(i)
      if i % 10 == 0 then
        return rfc[i // 10 % #rfc + 1]
      elseif i % 3 == 0 then
        return hostile.scan(i)
      end
      return (hostile.message(numbers[i % #numbers + 1]):sub(1, 65000))
    end
  end

  it("beside fifty calls a second: none fails", function()
    local port, a, b = process.ports(3)
    local tandem = proxy.start { source = source, level = "info", limit = seconds + 60,
      values = { port = port, a = a, b = b, t1 = t1 } }
    sipp.server("answer", { name = "a", port = a, quiet = true, limit = seconds + 40,
      values = { ring = 200 } })
    local calls = math.ceil(seconds * rate)
    local load = sipp.start("call", { proxy = "127.0.0.1:" .. port, calls = calls, rate = rate,
      quiet = true, limit = seconds + 40, values = { hold = 500 } })
    local stranger, message = sockets.udp(nil, "127.0.0.2"), messages()
    local began, sent, answered = process.now(), 0, 0
    local all = math.ceil(seconds * pace)
    while sent < all do
      local due = math.floor((process.now() - began) * pace)
      while sent < math.min(due, all) do
        sent = sent + 1
        stranger:send(port, message(sent))
        while stranger:receive(0) do
          answered = answered + 1
        end
      end
      process.sleep(0.005)
    end
    load:succeed()
    local s = load:statistics()
    io.write(("\n%d hostile messages in %.1f s, %d answers; %s calls, %s failed, %s repetitions\n")
      :format(sent, process.now() - began, answered, s["SuccessfulCall(C)"], s["FailedCall(C)"],
        s["Retransmissions(C)"]))
    assert.equal(calls, tonumber(s["SuccessfulCall(C)"]))
    assert.equal(0, tonumber(s["FailedCall(C)"]))
    assert.is_false(tandem:ended())
    assert(answered > sent / 10, sent .. " " .. answered)
    local after
    process.eventually(64 * t1 + 15, function()
      process.sleep(0.3)
      after = tandem:stats()
      return after.requests + after.servers + after.clients == 0
    end)
    assert.same({ 0, 0, 0 }, { after.requests, after.servers, after.clients })
  end)
end)

describe("the largest datagrams", function()
  after_each(function()
    sockets.close()
    process.clean()
  end)

  it("go on if they fit with our Via, and are 500 if not", function()
    local port, a, b = process.ports(3)
    local tandem = proxy.start { source = source, values = { port = port, a = a, b = b, t1 = 0.5 } }
    local server, client = sockets.udp(a), sockets.udp()
    local function request(id, size)
      local bytes = ("MESSAGE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;"
        .. "branch=z9hG4bK%s\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:bob@b>\r\nCall-ID: %s\r\n"
        .. "CSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\n\r\n"):format(client.port, id, id)
      return bytes .. ("b"):rep(size - #bytes)
    end
    for i, size in ipairs { 65507, 65300, 65507, 65300 } do
      local bytes = request("size" .. i, size)
      client:send(port, bytes)
      if size == 65300 then
        local got, from = server:receive(3)
        assert.equal(bytes:match "\r\n\r\n(.*)", (got or "nothing"):match "\r\n\r\n(.*)")
        server:send(from, "SIP/2.0 200 OK\r\n" .. got:match "^[^\r]*\r\n(.-\r\n\r\n)")
      end
      local answer = client:wait(function(text) return not text:find "^SIP/2.0 100" end)
      assert.same({ i, size == 65300 and "SIP/2.0 200 OK" or "SIP/2.0 500 Server Internal Error" },
        { i, (answer or "nothing"):match "^[^\r]*" })
    end
    assert.is_nil(server:receive(0.05))
    assert.is_false(tandem:ended())
  end)
end)

-- CVE-2018-7286, CVE-2020-28327: what was to be answered on a connection that has gone.
describe("callers that hang up their connection", function()
  after_each(function()
    sockets.close()
    process.clean()
  end)

  it("with fifty calls on it leave nothing that breaks", function()
    local port, a, b, own = process.ports(4)
    local tandem = proxy.start { source = source:gsub('"udp:127.0.0.1:%%{port}"',
      '"udp:127.0.0.1:%%{port}", "tcp:127.0.0.1:%%{port}"'),
      values = { port = port, a = a, b = b, t1 = t1 } }
    local server = sockets.udp(a)
    for round = 1, 4 do
      local tcp, invites, requests = sockets.tcp(port), {}, {}
      for i = 1, 50 do
        invites[i] = table.concat({
          "INVITE sip:bob@example.com SIP/2.0",
          ("Via: SIP/2.0/TCP 127.0.0.1:%d;branch=z9hG4bK%d-%d"):format(own, round, i),
          "From: <sip:a@b>;tag=1", "To: <sip:bob@b>", ("Call-ID: %d-%d"):format(round, i),
          "CSeq: 1 INVITE", "Max-Forwards: 70", "Contact: <sip:a@127.0.0.1;transport=tcp>",
          "Content-Length: 0", "", "",
        }, "\r\n")
      end
      tcp:send(table.concat(invites))
      while #requests < 50 do
        local bytes, from = server:wait(function(text)
          return text:find("^INVITE") and text:find("Call-ID: " .. round .. "-", 1, true)
            and not requests[text:match "Call%-ID: (%S+)"]
        end)
        assert(bytes, #requests)
        requests[#requests + 1] = { bytes, from }
        requests[bytes:match "Call%-ID: (%S+)"] = true
      end
      tcp:close()
      for i, request in ipairs(requests) do
        local head = request[1]:match "^[^\r]*\r\n(.-\r\n)\r\n"
        head = head:gsub("\r\nTo: [^\r]*", "%0;tag=there")
        for _, line in ipairs { "SIP/2.0 180 Ringing", i % 2 == 0 and "SIP/2.0 200 OK"
          or "SIP/2.0 486 Busy Here" } do
          server:send(request[2], line .. "\r\n" .. head .. "\r\n")
        end
      end
    end
    local after
    process.eventually(64 * t1 + 15, function()
      process.sleep(0.3)
      after = tandem:stats()
      return after.requests + after.servers + after.clients == 0
    end)
    assert.same({ 0, 0, 0 }, { after.requests, after.servers, after.clients })
    assert.is_false(tandem:ended())
  end)
end)
