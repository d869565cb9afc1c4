-- The messages of RFC 4475 and RFC 5118 through real sockets: what docs/reference/torture.md
-- says of each.
local dns_server = require "support.dns_server"
local http = require "support.http"
local netns = require "support.netns"
local page = require "support.page"
local process = require "support.process"
local proxy = require "support.proxy"
local sockets = require "support.sockets"
local torture = require "support.torture"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}", "tcp:127.0.0.1:%{port}" }
sip.settings { trust = { "127.0.0.0/8" }, dns = { servers = { "127.0.0.1:%{dns}" } },
  tcp = { header_timeout = 2 } }
local pool = sip.pool("pool", { servers = { { name = "a", uri = "sip:127.0.0.1:%{server}" } },
  check = false, record_route = false })
sip.route(function(req) return req:relay(pool) end)
]]

local function header(bytes, name)
  return bytes:match("\r\n" .. name .. "[ \t]*:[ \t]*([^\r]*)")
end

-- Call-IDs of the RFC say which message it is; their headers are Call-ID, Call-Id or i.
local function id_of(bytes)
  bytes = bytes:match "^.-\r\n\r\n" or bytes
  return header(bytes, "[Cc][Aa][Ll][Ll]%-[Ii][Dd]") or header(bytes, "[iI]")
end

local function line_of(bytes)
  return bytes:match "^[^\r]*"
end

-- A plain answer of a server.
local function busy(request)
  local lines = { "SIP/2.0 486 Busy Here" }
  local head = request:match "^(.-\r\n)\r\n"
  for field in (head:gsub("\r\n([ \t])", "%1")):gmatch "([^\r]+)\r\n" do
    local name = field:match "^([%a-]+)%s*:"
    local known = name and (" via v from f to t call-id i cseq "):find(
      " " .. name:lower() .. " ", 1, true)
    lines[#lines + 1] = known and field or nil
  end
  return table.concat(lines, "\r\n") .. "\r\nContent-Length: 0\r\n\r\n"
end

describe("RFC 4475 through sockets", function()
  local port, server_port, dns_port, ctl, server, client, fences, mark

  local function fence_request(id)
    return table.concat({
      ("OPTIONS sip:127.0.0.1:%d SIP/2.0"):format(port),
      ("Via: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK%s;rport"):format(client.port, id),
      "From: <sip:fence@127.0.0.1>;tag=1", ("To: <sip:127.0.0.1:%d>"):format(port),
      "Call-ID: " .. id, "CSeq: 1 OPTIONS", "Max-Forwards: 70", "Content-Length: 0", "", "",
    }, "\r\n")
  end

  -- Datagrams are taken in order: what was sent before this one is answered has been seen to.
  -- Gives what came to the client until then.
  local function fence()
    fences = fences + 1
    local id, before = "fence" .. fences, {}
    client:send(port, fence_request(id))
    assert(client:wait(function(bytes)
      local is_it = bytes:find("Call-ID: " .. id .. "\r\n", 1, true)
      before[#before + 1] = not is_it and bytes or nil
      return is_it
    end), "the proxy does not answer any more")
    return before
  end

  local function of(id)
    return function(bytes)
      return id_of(bytes) == id
    end
  end

  local function start(again)
    port, server_port, dns_port = process.ports(3)
    sockets.close()
    dns_server.start { port = dns_port, records = {
      { "naptr", "services.example.com", 10, 10, "SIP+D2U", "_sip._udp.services.example.com" },
      { "srv", "_sip._udp.services.example.com", "s.services.example.com", server_port, 1, 1 },
      { "host", "s.services.example.com", "127.0.0.1" },
    } }
    ctl = process.path("ctl" .. (again or "") .. ".sock")
    -- One worker: what was answered before the fence came before it.
    proxy.start { name = "proxy" .. (again or ""), source = source, args = { "--ctl", ctl },
      workers = 1, values = { port = port, dns = dns_port, server = server_port } }
    server, client, fences = sockets.udp(server_port), sockets.udp(), 0
    mark = (";received=127.0.0.1;rport=%d"):format(client.port)
  end
  before_each(function() start() end)
  after_each(function()
    sockets.close()
    process.clean()
  end)

  -- The samples of a metric by their label `reason`.
  local function reasons(name)
    local _, text = http.ask(ctl, "/metrics")
    local found = {}
    for reason, value in text:gmatch(name .. '{reason="([%l_]+)"} (%d+)') do
      found[reason] = value ~= "0" and value + 0 or nil
    end
    return found
  end

  local outcomes = {}

  function outcomes.forwarded(bytes, name)
    local id = assert(id_of(bytes), name)
    client:send(port, bytes)
    local got, from = server:wait(of(id))
    assert(got, name)
    local ours = ("^SIP/2%%.0/UDP 127%%.0%%.0%%.1:%d;rport;branch="):format(port)
    local want, have = torture.compare(bytes, got, ours, mark)
    assert.equal(want, have)
    server:send(from, busy(got))
    local final = client:wait(function(answer)
      return id_of(answer) == id and not answer:find "^SIP/2.0 100"
    end)
    assert.equal("SIP/2.0 486 Busy Here", line_of(final))
  end

  function outcomes.dropped(bytes, name)
    client:send(port, bytes)
    assert.same({ name }, { name, table.unpack(fence()) })
  end

  outcomes["passed on"] = function(bytes, name)
    local via = ("SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK%s;rport"):format(client.port, name)
    client:send(port, torture.request(bytes, via))
    local got, from = server:wait(of(id_of(bytes)))
    assert(got, name)
    if bytes:find "^SIP/2.0 100" then -- it ends here
      server:send(from, torture.answer(bytes, got))
      bytes = bytes:gsub("^SIP/2.0 100", "SIP/2.0 180")
    end
    local answer = torture.answer(bytes, got)
    server:send(from, answer)
    local have = client:wait(function(text)
      return id_of(text) == id_of(bytes) and not text:find "^SIP/2.0 100"
    end)
    assert.equal((answer:gsub("\r\nVia: [^\r]*", "", 1)), have)
    if bytes:find "^SIP/2.0 180" then -- and this call as well
      server:send(from, busy(got))
    end
  end

  local function check(counted)
    local found = reasons "tandem_parse_errors_total"
    for reason, n in pairs(reasons "tandem_invalid_requests_total") do
      found[reason] = n
    end
    assert.same(counted, found)
  end

  -- What makes a request a transaction of its own (RFC 3261 17.2.3).
  local function transaction(bytes)
    local via = header(bytes, "[Vv][iI]?[aA]?") or ""
    return bytes:match "^%S+" .. " " .. via
  end

  it("does to all 49 what is written", function()
    local counted, rows, seen = {}, torture.rows "RFC 4475", {}
    for i, row in ipairs(rows) do
      local name, reason = page.code(row.message), page.code(row["counted as"])
      local bytes = torture.read("torture/" .. name)
      local fn, key = outcomes[row.outcome], transaction(bytes)
      if seen[key] then -- as a repetition it would be absorbed: cparam02 is one of cparam01
        check(counted)
        counted, seen = {}, {}
        start(i)
      end
      seen[key] = true
      if fn then
        fn(bytes, name)
      else
        client:send(port, bytes)
        local before = fence()
        assert.same({ name, "SIP/2.0 " .. row.outcome }, { name, line_of(before[#before]) })
      end
      if reason ~= "" then
        counted[reason] = (counted[reason] or 0) + 1
      end
    end
    check(counted)
    assert.equal(49, #rows)
  end)

  it("and over TCP, where some end the connection", function()
    local waiting = {}
    for _, row in ipairs(page.rows(torture.page, "| message | outcome | why |")) do
      local name = page.code(row.message)
      local tcp = sockets.tcp(port)
      local bytes = torture.read("torture/" .. name)
      local line, closed = row.outcome:match "^(%d.-)(,? ?c?l?o?s?e?d?)$"
      tcp:send(bytes)
      if line then
        local text, ended = tcp:read(function(text)
          return closed == "" and text:find "\r\n\r\n$"
        end)
        assert.same({ name, "SIP/2.0 " .. line }, { name, line_of(text) })
        assert.equal(select(2, text:gsub("SIP/2.0 %d%d%d ", "")), 1, text)
        assert.equal(closed ~= "", ended, name)
      elseif row.outcome:find "^closed" then
        waiting[#waiting + 1] = tcp
      else
        local twice = row.outcome == "forwarded twice, closed"
        for _ = 1, twice and 2 or 1 do
          local got, from = server:wait(function(text) return not text:find "^ACK" end)
          assert(got, name)
          server:send(from, busy(got))
        end
        local text, ended = tcp:read(function(text) return text:find "\r\n\r\n$" end)
        assert.equal(twice and "" or "SIP/2.0 486 Busy Here", line_of(text))
        assert.equal(twice, ended, name)
      end
    end
    for _, tcp in ipairs(waiting) do
      assert.same({ "", true }, { tcp:read(function() return false end, 10) })
    end
    assert.equal(2, #waiting)
    assert.equal(2, reasons("tandem_connections_closed_total").header_timeout)
    assert.equal(4, reasons("tandem_connections_closed_total").framing)
  end)
end)

-- The addresses of that RFC are nobody's here, so this needs a network of its own.
describe("RFC 5118 through sockets", function()
  after_each(process.clean)

  it("does to all of them what is written", function()
    local net, why = netns.open()
    if not net then
      return pending(why)
    end
    local proxy_ip, client_ip = "2001:db8::100", "2001:db8::9:1"
    for _, ip in ipairs { proxy_ip, client_ip, "2001:db8::10", "2001:db8::10:5070",
      "2001:db8::c000:201" } do
      net:ip("addr add " .. ip .. "/128 dev lo nodad")
    end
    local source_here = [[
      local sip = require "tandem"
      sip.listen { "udp:[2001:db8::100]:5060" }
      sip.settings { trust = { "2001:db8::/32" } }
      local named = sip.pool("named", { check = false, record_route = false,
        servers = { { name = "a", uri = "sip:[2001:db8::10]" } } })
      local function go(req) -- there is no DNS in here
        return req:relay(req.ruri.host:find "example" and named or req.ruri.text)
      end
      sip.route("*in_dialog", go)
      sip.route(go)
    ]]
    for _, row in ipairs(torture.rows "RFC 5118") do
      local name = page.code(row.message)
      local out = process.path(name)
      -- to one that has seen the others they would be repetitions: many have the same branch
      local tandem = proxy.start { name = name, inside = net, source = source_here }
      local to, at = row.outcome:match "^forwarded to %[([%x:]+)%]:(%d+)$"
      net:run(("lua5.4 spec/support/exchange.lua spec/fixtures/ipv6/%s.dat %s %s %s %s %s"):format(
        name, out, client_ip, proxy_ip, to or "2001:db8::10", at or 5060))
      local answer, got = process.read(out .. ".client"), process.read(out .. ".server")
      assert.same({ name, to and "SIP/2.0 486 Busy Here" or "SIP/2.0 " .. row.outcome },
        { name, line_of(answer) })
      assert.equal(to ~= nil, got ~= nil, name)
      if to then
        local want, have = torture.compare(torture.read("ipv6/" .. name),
          (got:gsub("Record%-Route: [^\r]*\r\n", "")),
          "^SIP/2%.0/UDP %[2001:db8::100%]:5060;rport;branch=z9hG4bK1%x+$",
          ";received=2001:db8::9:1;rport=5060")
        assert.equal(want, have)
      end
      assert.is_nil(tandem:stop())
    end
  end)
end)
