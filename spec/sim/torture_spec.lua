-- RFC 4475 and RFC 5118: what docs/reference/torture.md says of each message is what happens.
local page = require "support.page"
local sh = require "support.sh"
local sim = require "support.sim"
local torture = require "support.torture"

local script = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }
sip.settings { trust = { "192.0.2.0/24" } }
local pool = sip.pool("pool", { servers = { { name = "a", uri = "sip:10.0.0.1" } },
  check = false, record_route = false })
sip.route(function(req) return req:relay(pool) end)
]]

local via = "^SIP/2%.0/UDP 10%.0%.0%.100:5060;rport;branch=z9hG4bK1%x+$"
local marks = ";received=192.0.2.7;rport=5060"

local function lines_of(list)
  local lines = {}
  for i, message in ipairs(list) do
    lines[i] = message.bytes:match "^[^\r]*"
  end
  return lines
end

-- Reasons of tandem_dropped_total and others that count what came, and how often.
local function counted(net)
  local list = {}
  for _, reason in ipairs { "not_sip", "start_line", "header", "size", "length", "via", "identity",
    "routing", "scheme", "max_forwards", "proxy_require" } do
    for _ = 1, net:metric(torture.metric(reason), { reason = reason }) do
      list[#list + 1] = reason
    end
  end
  return table.concat(list, " ")
end

local function dropped(net)
  return net:metric("tandem_dropped_total", { reason = "parse" })
    + net:metric("tandem_dropped_total", { reason = "via_not_ours" })
end

describe("the messages of RFC 4475", function()
  it("are those of the RFC, and all are spoken of", function()
    local ok, output = sh.run "cd spec/fixtures && sha256sum --strict -c checksums.sha256"
    assert(ok, output)
    local sums, files = {}, sh.lines "cd spec/fixtures && ls torture/*.dat ipv6/*.dat"
    for line in output:gmatch "([^\n]*): OK" do
      sums[#sums + 1] = line
    end
    table.sort(sums)
    table.sort(files)
    assert.same(files, sums)
    for title, folder in pairs { ["RFC 4475"] = "torture", ["RFC 5118"] = "ipv6" } do
      local names = {}
      for _, name in ipairs(files) do
        names[#names + 1] = name:match("^" .. folder .. "/(.*)%.dat$")
      end
      assert.same(names, page.column(torture.rows(title), "message"))
    end
    assert.equal(49, #torture.rows "RFC 4475")
  end)
end)

sim.for_workers("RFC 4475 over UDP", function(workers)
  after_each(sim.finish)

  local net, a, alice

  local function open(what)
    net = sim.new { source = script, workers = workers,
      dns = { ["services.example.com"] = "10.0.0.1" } }
    a = net:uas("10.0.0.1", "a")
    a:answer("*", 486)
    alice = net:uac((what or "") .. "192.0.2.7", "alice")
  end

  -- What is so for whatever was sent: nobody got what was no message, and nobody else a thing.
  local function nothing_else()
    assert.same({}, a.garbage)
    assert.same({}, alice.garbage)
    for _, packet in ipairs(net:packets()) do
      assert(packet.to:find "^10%.0%.0%.1:" or packet.to:find "^10%.0%.0%.100:"
        or packet.to:find "^192%.0%.2%.7:", packet.to)
    end
  end

  local outcomes = {}

  function outcomes.forwarded(bytes, row)
    alice:send(bytes)
    net:run(0.3)
    assert.equal("", row["counted as"])
    assert.equal("", counted(net))
    assert.equal(1, #a:got(bytes:match "^%S+"), net:ladder { all = true })
    local want, got = torture.compare(bytes, a.received[1].bytes, via, marks)
    assert.equal(want, got)
    -- and back: the Vias are those it came with
    local final = alice:got(486)[1]
    local _, vias = a.received[1].bytes:gsub("^.-\r\nVia: [^\r]*\r\n", "")
    assert.equal(1, vias)
    local list = a.received[1]:list "Via"
    table.remove(list, 1)
    assert.same(list, final:list "Via")
  end

  function outcomes.dropped(bytes, row)
    alice:send(bytes)
    net:run(40)
    assert.same({}, alice.received)
    assert.same({}, a.received)
    assert.equal(page.code(row["counted as"]), counted(net))
    assert.equal(1, dropped(net))
  end

  local function refused(bytes, row)
    alice:send(bytes)
    net:run(40)
    assert.same({ "SIP/2.0 " .. row.outcome }, lines_of(alice.received))
    assert.same({}, a.received)
    assert.equal(page.code(row["counted as"]), counted(net))
    local answer = alice.received[1]
    assert.equal("", answer.body)
    assert.equal("0", answer:header "Content-Length")
    assert(#answer.bytes <= 1.5 * #bytes, #answer.bytes)
    for _, name in ipairs { "From", "To", "Call-ID", "CSeq" } do
      assert.equal(1, #answer:all(name), name)
    end
    return answer
  end

  -- ---- responses ----

  local answered -- so many requests, repeated ones as well

  local function respond(bytes)
    answered = 0
    a:on((bytes:match "CSeq: %d+ (%u+)"), function(request)
      answered = answered + 1
      a:send(torture.answer(bytes, request.bytes), request.source)
    end)
    alice:send(torture.request(bytes, "SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKr" .. workers))
    net:run(0.05)
    assert.equal(1, #a.received)
  end

  local responses = { ["passed on"] = {} }

  responses["passed on"] = function(bytes)
    respond(bytes)
    if bytes:find "^SIP/2.0 100" then -- it ends here; that it was read is seen in the silence
      net:run(3)
      assert.equal(1, #a.received)
      bytes = bytes:gsub("^SIP/2.0 100", "SIP/2.0 180")
      a:send(torture.answer(bytes, a.received[1].bytes), "10.0.0.100:5060")
      net:run(0.1)
    end
    local got = alice.received[#alice.received].bytes
    local want = torture.answer(bytes, a.received[1].bytes)
    assert.equal((want:gsub("\r\nVia: [^\r]*", "", 1)), got)
    assert.equal("", counted(net))
  end

  function responses.dropped(bytes, row)
    respond(bytes)
    net:run(40)
    for _, line in ipairs(lines_of(alice.received)) do
      assert(line == "SIP/2.0 100 Trying" or line == "SIP/2.0 500 Server Internal Error", line)
    end
    local reasons = {}
    for i = 1, answered do
      reasons[i] = page.code(row["counted as"])
    end
    assert(answered > 0)
    assert.equal(table.concat(reasons, " "), counted(net))
    assert.equal(#reasons, dropped(net))
  end

  for _, row in ipairs(torture.rows "RFC 4475") do
    local name = page.code(row.message)
    it(("%s (%s) is %s"):format(name, row.section, row.outcome), function()
      local bytes = torture.read("torture/" .. name)
      open()
      local response = bytes:find "^SIP/"
      local fn = (response and responses or outcomes)[row.outcome] or refused
      fn(bytes, row)
      nothing_else()
      if response then -- and to nobody's request
        local got = #alice.received
        local before = dropped(net)
        a:send(bytes, "10.0.0.100:5060")
        net:run(1)
        assert.equal(before + 1, dropped(net))
        assert.equal(got, #alice.received)
      end
    end)
  end

  it("bext01 is told what is not supported, badinv01 gets its Via back", function()
    open()
    alice:send(torture.read "torture/bext01")
    alice:send(torture.read "torture/badinv01")
    net:run(1)
    local byes = { [alice.received[1].code] = alice.received[1],
      [alice.received[2].code] = alice.received[2] }
    assert.equal("noProxiesSupportThis, norDoAnyProxiesSupportThis", byes[420]:header "Unsupported")
    assert.equal("SIP/2.0/UDP 192.0.2.15;;,;,,", byes[400]:all "Via"[1])
  end)

  -- ---- over TCP ----

  local streams = {}

  streams["forwarded"] = function(_)
    assert.equal(1, #a.received)
    assert.equal("up", alice:connections()[1].state)
  end

  streams["forwarded twice, closed"] = function(_)
    assert.equal("REGISTER INVITE", a.received[1].method .. " " .. a.received[2].method)
    assert.equal(150, #a.received[2].body)
    assert.equal(1, #alice.ended)
    assert.equal(1, net:metric("tandem_framing_errors_total", { reason = "not_sip" }))
  end

  streams["closed after `header_timeout`"] = function(_)
    assert.same({}, alice.ended)
    net:run(7)
    assert.same({}, alice.ended)
    net:run(3)
    assert.equal(1, #alice.ended)
    assert.same({}, alice.received)
    assert.equal(1, net:metric("tandem_connections_closed_total", { reason = "header_timeout" }))
  end

  for _, row in ipairs(page.rows(torture.page, "| message | outcome | why |")) do
    local name = page.code(row.message)
    it(("over TCP %s is %s"):format(name, row.outcome), function()
      open "tcp:"
      alice:raw(torture.read("torture/" .. name))
      net:run(1)
      local line, closed = row.outcome:match "^(%d.-)(,? ?c?l?o?s?e?d?)$"
      if not line then
        return streams[row.outcome](row)
      end
      assert.same({ "SIP/2.0 " .. line }, lines_of(alice.received))
      assert.equal(closed == ", closed" and 1 or 0, #alice.ended)
      assert.same({}, a.received)
    end)
  end
end)

sim.for_workers("RFC 5118", function(workers)
  after_each(sim.finish)

  local mapped = { ["host.example.net"] = "2001:db8::10", ["example.com"] = "2001:db8::10" }

  for _, row in ipairs(torture.rows "RFC 5118") do
    local name = page.code(row.message)
    it(("%s (%s) is %s"):format(name, row.section, row.outcome), function()
      local bytes = torture.read("ipv6/" .. name)
      local net = sim.new { workers = workers, dns = mapped, addr = "2001:db8::100", source = [[
        local sip = require "tandem"
        sip.listen { "udp:[2001:db8::100]:5060" }
        sip.settings { trust = { "2001:db8::/32" } }
        sip.route(function(req) return req:relay(req.ruri.text) end)
      ]] }
      local alice = net:uac("[2001:db8::9:1]", "alice")
      local to = row.outcome:match "^forwarded to (%S+)$"
      local server = net:uas(to or "[2001:db8::10]", "server")
      server:answer("*", 486)
      alice:send(bytes)
      net:run(0.3)
      assert.equal(page.code(row["counted as"]), counted(net))
      if to then
        -- a request that begins a dialog gets a Record-Route, which these do not have
        local got = server.received[1].bytes:gsub("Record%-Route: [^\r]*\r\n", "")
        local want, have = torture.compare(bytes, got,
          "^SIP/2%.0/UDP %[2001:db8::100%]:5060;rport;branch=z9hG4bK1%x+$",
          ";received=2001:db8::9:1;rport=5060")
        assert.equal(want, have)
        assert.equal(1, #alice:got(486))
      else
        assert.same({ "SIP/2.0 " .. row.outcome }, lines_of(alice.received))
        assert.same({}, server.received)
      end
    end)
  end
end)
