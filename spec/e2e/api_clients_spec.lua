-- Clients of the control API that behave badly: whatever they do, others are answered.
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local unix = require "socket.unix"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", { check = false, servers = {
  { name = "a", uri = "sip:127.0.0.1:%{a}" } } })
sip.route(function(req) return req:relay(pbx) end)
]]

describe("clients of the control API", function()
  local tandem, sock, tcp, port

  before_each(function()
    local a, web
    port, a, web = process.ports(3)
    sock, tcp = process.path "ctl.sock", "127.0.0.1:" .. web
    tandem = proxy.start {
      source = source, values = { port = port, a = a }, args = { "--ctl", sock, "--http", tcp },
    }
  end)
  after_each(process.clean)

  -- What comes back for these bytes until the proxy closes, or for 20 seconds.
  local function raw(bytes, name)
    local file = process.write("request", bytes)
    return process.start {
      name = name or "raw", limit = 20,
      argv = { "sh", "-c", "cat " .. file .. " - | socat -t 20 - UNIX-CONNECT:" .. sock },
    }
  end

  local function answers()
    return http.ask(sock, "/healthz") == 200 and http.ask(tcp, "/healthz") == 200
  end

  it("may say nothing, or half of something: they are closed after a while", function()
    local silent = process.start {
      name = "silent", limit = 20, argv = { "socat", "-u", "UNIX-CONNECT:" .. sock, "-" },
    }
    local half = process.start {
      name = "half", limit = 20,
      argv = { "sh", "-c", "(printf 'GET /v1/sta'; sleep 20) | socat - UNIX-CONNECT:" .. sock },
    }
    local body = process.start {
      name = "body", limit = 20,
      argv = { "sh", "-c", "(printf 'POST /v1/drain HTTP/1.1\\r\\nHost: x\\r\\n"
        .. "Content-Length: 100\\r\\n\\r\\n{'; sleep 20) | socat - UNIX-CONNECT:" .. sock },
    }
    assert.is_true(answers())
    assert.truthy(process.eventually(15, function() return silent:ended() end))
    assert.is_true(answers())
    assert.is_false(select(2, http.ask(sock, "/v1/drain")).draining)
    half:kill()
    body:kill()
  end)

  it("may be two hundred at once", function()
    local ok, output = sh.run("curl -sS -m 20 -Z --parallel-immediate --parallel-max 200 "
      .. "-o /dev/null -w '%{http_code}\\n' --unix-socket " .. sock
      .. " 'http://tandem/v1/servers?n=[1-200]'")
    assert.is_true(ok)
    assert.equal(200, select(2, output:gsub("200\n", "")))
    assert.is_true(answers())
  end)

  local function request(method, n)
    return table.concat({
      method .. " sip:127.0.0.1:" .. port .. " SIP/2.0",
      "Via: SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bK" .. n, "Max-Forwards: 70",
      "From: <sip:x@example.net>;tag=1", "To: <sip:127.0.0.1>", "Call-ID: " .. n,
      "CSeq: 1 " .. method, "Content-Length: 0", "", "" }, "\r\n")
  end

  it("may all want much of a worker: no call waits for more than one of them", function()
    local traces = process.write("traces", request("MESSAGE", "$i"):gsub("\r", ""))
    assert(sh.run(("bash -c 'for i in $(seq 200); do sed \"s/\\$i/$i/;s/$/\\r/\" %s "
      .. ">/dev/udp/127.0.0.1/%d; done'"):format(traces, port)))
    assert.truthy(process.eventually(20, function()
      local status, list = http.ask(sock, "/v1/why?last=100")
      return status == 200 and #list == 100
    end))
    local crowd = process.start {
      name = "crowd", limit = 60,
      argv = { "sh", "-c", "exec curl -sS -Z --parallel-immediate --parallel-max 200 -o '"
        .. process.path "answer" .. "#1' --unix-socket " .. sock
        .. " 'http://tandem/v1/why?last=100&n=[1-2000]' 2>/dev/null" },
    }
    assert.truthy(process.eventually(20, function()
      return process.read(process.path "answer1")
    end))
    for n = 1, 2 do
      assert.matches("^SIP/2.0 200 ", process.ask(port, request("OPTIONS", n), 2.5))
    end
    assert.falsy(crowd:ended())
    crowd:kill()
  end)

  it("may hold more connections than there is room for, and let go", function()
    local crowd = process.start {
      name = "crowd", limit = 20,
      argv = { "bash", "-c", "exec 9<&0; for i in $(seq 300); do socat -u UNIX-CONNECT:" .. sock
        .. " - & done; echo there; wait" },
    }
    assert.truthy(process.eventually(15, function()
      return crowd:output():find "there"
    end))
    assert.equal(200, (http.ask(tcp, "/healthz"))) -- a door of its own
    crowd:kill()
    assert.truthy(process.eventually(5, function()
      return pcall(http.ask, sock, "/healthz") and answers()
    end))
  end)

  it("may all leave at once when there was no room for more", function()
    local crowd = {}
    for i = 1, 300 do
      crowd[i] = unix.stream()
      assert(crowd[i]:connect(sock))
    end
    assert.truthy(process.eventually(10, function()
      return select(2, http.ask(tcp, "/metrics")):match "process_open_fds (%d+)" // 1 > 256
    end))
    tandem:signal "STOP"
    for _, client in ipairs(crowd) do
      client:close()
    end
    tandem:signal "CONT"
    assert.is_true(answers())
  end)

  it("may send two requests at once", function()
    local one = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    local client = raw(one .. "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n" .. one:gsub("\r\n\r\n",
      "\r\nConnection: close\r\n\r\n"))
    assert.truthy(process.eventually(10, function()
      return select(2, client:output():gsub("HTTP/1%.1 200 OK", "")) == 3
    end))
    assert.matches("ok\n.*\"version\".*ok\n", client:output())
  end)

  it("may go away before the answer", function()
    for _ = 1, 20 do
      sh.run("printf 'GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' | timeout 1 socat -u - "
        .. "UNIX-CONNECT:" .. sock)
    end
    assert.is_true(answers())
  end)

  it("may ask for any name", function()
    for _, case in ipairs {
      { "/v1/pools/%00", "there is no pool '\0'; there is pbx" },
      { "/v1/pools/p%2Fx", "there is no pool 'p/x'; did you mean 'pbx'?" },
      { "/v1/pools/a%2562c", "there is no pool 'a%62c'; there is pbx" },
      { "/v1/pools/%FF", "there is no pool '\u{FFFD}'; there is pbx" },
      { "/v1/pools/%FF%C3%B6", "there is no pool '\u{FFFD}ö'; there is pbx" },
      { "/v1/why/a%2Fb%3F%2541%40h", "nothing is known of Call-ID 'a/b?%41@h'" },
      { "/v1/pools/pbx/servers/%0D%0A", "pool 'pbx' has no server '\r\n'; there is a" },
    } do
      local status, value = http.ask(sock, case[1])
      assert.same({ 404, case[2] }, { status, value.error })
    end
    assert.equal(400, (http.ask(sock, "/v1/why?last=%2D1")))
    assert.equal(200, (http.ask(sock, "/v1/why?%6Cast=%31")))
  end)

  it("may send rubbish", function()
    for i, bytes in ipairs {
      "\0\1\2\3\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", ("A"):rep(70000),
      "GET /" .. ("x"):rep(40000) .. " HTTP/1.1\r\n\r\n",
      "GET /v1/pools/%00%ff/servers/%0d%0a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
      "POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
      "POST /v1/drain HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      "INVITE sip:x@y SIP/2.0\r\nVia: SIP/2.0/TCP z\r\n\r\n",
    } do
      local client = raw(bytes, "rubbish" .. i)
      process.eventually(1, function() return client:ended() or client:output() ~= "" end)
      assert.is_true(answers(), i)
      assert.not_matches("HTTP/1.1 2", client:output(), 1, true, bytes)
      client:kill()
    end
    for _, body in ipairs { "{", "[]x", "1", "null", '"x"', ("["):rep(5000) } do
      assert.equal(400, (http.ask(sock, "/v1/drain", { method = "POST", raw = body })))
    end
    assert.is_false(select(2, http.ask(sock, "/v1/drain")).draining)
    assert.equal(0, #tandem:logged "api.error")
  end)
end)
