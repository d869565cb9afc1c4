-- docs/reference/limits.md, row by row: sizes at the limit and one beyond, and what would let
-- two readers see two messages. What is refused goes nowhere and takes no memory.
local page = require "support.page"
local sim = require "support.sim"
local tree = require "support.tree"

local doc = "docs/reference/limits.md"

local script = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }
sip.settings { trust = { "192.0.2.0/24" } }
local pool = sip.pool("pool", { servers = { { name = "a", uri = "sip:10.0.0.1" } },
  check = false, record_route = false })
sip.route(function(req)
  req:del_header "X-Secret"
  req:del_header "Subject"
  return req:relay(pool)
end)
]]

local serial = 0

-- A request, a new one each time; what is given replaces its part. false: it is left out.
local function request(parts)
  serial = serial + 1
  local function part(name, default)
    if parts[name] == nil then
      return default
    end
    return parts[name] or nil
  end
  local lines = { part("line", "OPTIONS " .. part("uri", "sip:bob@example.com") .. " SIP/2.0") }
  for _, line in ipairs {
    part("via", ("Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK%04d"):format(serial)) or false,
    part("from", "From: <sip:alice@example.com>;tag=1") or false,
    part("to", "To: <sip:bob@example.com>") or false,
    part("id", ("Call-ID: %04d@192.0.2.7"):format(serial)) or false,
    part("cseq", "CSeq: 1 OPTIONS") or false,
    part("hops", "Max-Forwards: 70") or false,
  } do
    lines[#lines + 1] = line or nil
  end
  for _, line in ipairs(parts.more or {}) do
    lines[#lines + 1] = line
  end
  local body = parts.body or ""
  lines[#lines + 1] = part("length", "Content-Length: " .. #body)
  return table.concat(lines, "\r\n") .. (parts.ending or "\r\n\r\n") .. body
end

local function list(n, text)
  local values = {}
  for i = 1, n do
    values[i] = text
  end
  return values
end

local function long(n)
  return ("x"):rep(n)
end

local function params(n)
  return (";p"):rep(n)
end

-- A message with n of it.
local sizes = {
  ["header fields"] = function(n)
    return request { more = list(n - 7, "X: 1") }
  end,
  ["bytes of a header field, with its folds"] = function(n)
    return request { more = { "X: a\r\n " .. long(n - 9) } }
  end,
  ["bytes of the Request-URI"] = function(n)
    return request { uri = "sip:" .. long(n - 14) .. "@example.c" }
  end,
  ["bytes of a method"] = function(n)
    return request {
      line = long(n) .. " sip:bob@example.com SIP/2.0",
      cseq = "CSeq: 1 " .. long(n),
    }
  end,
  ["bytes of Call-ID"] = function(n)
    return request { id = "i: " .. long(n) }
  end,
  ["bytes of a From tag"] = function(n)
    return request { from = "f: <sip:alice@example.com>;tag=" .. long(n) }
  end,
  ["bytes of a To tag"] = function(n) -- within a dialog with a server
    return request { uri = "sip:10.0.0.1", to = "t: <sip:bob@example.com>;tag=" .. long(n) }
  end,
  ["bytes of the branch"] = function(n)
    return request { via = "v: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK" .. long(n - 7) }
  end,
  ["Vias"] = function(n)
    return request { more = list(n - 1, "Via: SIP/2.0/UDP 192.0.2.8;branch=z9hG4bKv") }
  end,
  ["Contacts"] = function(n)
    return request { more = { "m: " .. table.concat(list(n, "<sip:a@192.0.2.7>"), ",") } }
  end,
  ["Routes"] = function(n)
    return request { more = { "Route: " .. table.concat(list(n, "<sip:10.0.0.100;lr>"), ",") } }
  end,
  ["Record-Routes"] = function(n)
    return request { more = list(n, "Record-Route: <sip:192.0.2.9;lr>") }
  end,
  ["parameters of From, with those of its URI"] = function(n)
    return request {
      from = "From: <sip:a@b" .. params(n // 2) .. ">;tag=1" .. params(n - n // 2 - 1),
    }
  end,
  ["parameters of To, with those of its URI"] = function(n)
    return request { to = "To: <sip:a@b" .. params(n // 2) .. ">" .. params(n - n // 2) }
  end,
  ["parameters of a Contact, with those of its URI"] = function(n)
    return request { more = { "Contact: <sip:a@b" .. params(n // 2) .. ">" .. params(n - n // 2) } }
  end,
  ["parameters of the Request-URI"] = function(n)
    return request { uri = "sip:bob@example.com" .. params(n) }
  end,
  ["Max-Forwards"] = function(n)
    return request { hops = "Max-Forwards: " .. n }
  end,
  ["CSeq"] = function(n)
    return request { cseq = ("CSeq: %d OPTIONS"):format(n) }
  end,
  ["bytes of a host name"] = function(n)
    return request { uri = "sip:bob@" .. ("a."):rep(n // 2) .. "a" .. (n % 2 == 0 and "a" or "") }
  end,
  ["bytes of a label of a host name"] = function(n)
    return request { uri = "sip:bob@" .. long(n) .. ".example" }
  end,
  ["a port"] = function(n)
    return request { uri = "sip:bob@example.com:" .. n }
  end,
}

-- Each twice: what is to be refused, in its place.
local refused = {
  ["a NUL in a header field"] = request { more = { "X: a\0b" } },
  ["a CR without LF in a header field"] = request { more = { "X: a\rX-Inject: b" } },
  ["an LF without CR in a header field"] = request { more = { "X: a\nX-Inject: b" } },
  ["a NUL in the Request-URI"] = request { uri = "sip:bob@example.com\0.evil" },
  ["a control character before the colon"] = request { more = { "To\1: <sip:evil@example.com>" } },
  ["a space within a name"] = request { more = { "Content Length: 1" } },
  ["a name with bytes that are no ASCII"] = request { more = { "T\195\182: 1" } },
  ["a field without a name"] = request { more = { ": 1" } },
  ["a field without a colon"] = request { more = { "X" } },
  ["a fold as the first line of the header"] =
    request { via = " X: 1\r\nVia: SIP/2.0/UDP 192.0.2.7" },
  ["no empty line after the header"] = request { ending = "\r\n" },
  ["two From, short and long"] = request { more = { "f: <sip:evil@example.com>;tag=2" } },
  ["two To, short and long"] = request { more = { "t : <sip:evil@example.com>;tag=2" } },
  ["two Call-ID, short and long"] = request { more = { "I: 2" } },
  ["two CSeq"] = request { more = { "cseq: 2 OPTIONS" } },
  ["two Max-Forwards"] = request { more = { "MAX-FORWARDS: 69" } },
  ["two Content-Length that are equal, short and long"] =
    request { body = "12345", more = { "l: 5" } },
  ["two Content-Length that differ"] = request { body = "12345", more = { "l : 3" } },
  ["Content-Length: -5"] = request { body = "12345", length = "Content-Length: -5" },
  ["Content-Length: +5"] = request { body = "12345", length = "Content-Length: +5" },
  ["Content-Length: 5abc"] = request { body = "12345", length = "Content-Length: 5abc" },
  ["Content-Length: 0x5"] = request { body = "12345", length = "Content-Length: 0x5" },
  ["Content-Length: 5, 5"] = request { body = "12345", length = "Content-Length: 5, 5" },
  ["Content-Length: 5 5"] = request { body = "12345", length = "Content-Length: 5\r\n 5" },
  ["Content-Length without a value"] = request { body = "12345", length = "l:" },
  ["Content-Length beyond the datagram"] = request { body = "12345", length = "l: 6" },
  ["Content-Length: 2^32 + 5"] = request { body = "12345", length = "l: 4294967301" },
  ["Content-Length: 2^64 + 5"] = request { body = "12345", length = "l: 18446744073709551621" },
  ["two spaces after the method"] = request { line = "OPTIONS  sip:bob@example.com SIP/2.0" },
  ["a space after the version"] = request { line = "OPTIONS sip:bob@example.com SIP/2.0 " },
  ["another version of SIP"] = request { line = "OPTIONS sip:bob@example.com SIP/2.1" },
  ["a line break within the method"] =
    request { line = "OPTIONS\r\nFoo: sip:bob@example.com SIP/2.0" },
  ["headers in the Request-URI"] = request { uri = "sip:bob@example.com?Route=%3Csip:evil%3E" },
  ["two @ in the Request-URI"] = request { uri = "sip:bob@example.com;x=a@evil" },
  ["a `<` in the Request-URI"] = request { uri = "<sip:bob@example.com>" },
  ["an IPv6 address without brackets"] = request { uri = "sip:bob@2001:db8::1" },
  ["a Via of another protocol"] = request { via = "Via: SIP/9.9/UDP 192.0.2.7;branch=z9hG4bK1" },
  ["a Via with a port that is none"] =
    request { via = "Via: SIP/2.0/UDP 192.0.2.7:99999;branch=z9hG4bK1" },
  ["a Via with two branches"] =
    request { via = "Via: SIP/2.0/UDP a;branch=z9hG4bK1;branch=z9hG4bK2" },
  ["a Via without an address"] = request { via = "Via: SIP/2.0/UDP ;branch=z9hG4bK1" },
  ["no Via"] = request { via = false },
  ["no From"] = request { from = false },
  ["a From whose quotes do not end"] =
    request { from = 'From: "alice <sip:alice@example.com>;tag=1' },
  ["a From whose bracket does not end"] = request { from = "From: <sip:alice@example.com;tag=1" },
  ["a To with an empty tag"] = request { to = "To: <sip:bob@example.com>;tag=" },
  ["a Route whose bracket does not end"] = request { more = { "Route: <sip:a;lr, <sip:b;lr>" } },
  ["a parameter without a name"] = request { more = { "Contact: <sip:a@b>;;lr" } },
  ["Max-Forwards: -1"] = request { hops = "Max-Forwards: -1" },
  ["a CSeq of another method"] = request { cseq = "CSeq: 1 INVITE" },
}

describe("the limits of messages", function()
  it("are those of the sources", function()
    local sources = tree.read "src/message/msg.h" .. tree.read "src/transport/frame.h"
    local seen = {}
    for _, row in ipairs(page.rows(doc, "| what | limit | constant | beyond | counted as |")) do
      local name = page.code(row.constant)
      if name ~= "" then
        seen[name] = true
        assert.equal(row.limit, sources:match(name .. " = (%d+)"), name)
      end
    end
    for name in tree.read "src/message/msg.h":gmatch "\t(MSG_MAX_%u+)" do
      assert(seen[name] or name == "MSG_MAX_BYTES", name .. " is not in " .. doc)
    end
    local text = tree.read(doc)
    local rate = tree.read "src/proxy/proxy.c":match "REPLY_RATE = (%d+)"
    assert(text:find("at most " .. rate .. " times a second", 1, true), rate)
    for name in text:gmatch "%(`(%u+_MAX_%u+)`%)" do
      assert(text:find(sources:match(name .. " = (%d+)"), 1, true), name)
    end
  end)
end)

local reasons = {
  "not_sip", "start_line", "header", "size", "length", "via", "identity", "routing",
}

sim.for_workers("limits of messages", function(workers)
  local net, a, alice, before, dropped

  local function parse_errors()
    local found = {}
    for i, reason in ipairs(reasons) do
      found[i] = net:metric("tandem_parse_errors_total", { reason = reason })
    end
    return found, net:metric("tandem_dropped_total", { reason = "parse" })
  end

  -- From here on is counted.
  local function mark()
    before, dropped = parse_errors()
    for _, endpoint in ipairs { a, alice } do
      endpoint.received, endpoint.garbage = {}, {}
    end
  end

  local function open(what, settings)
    net = sim.new { source = (settings or "") .. script, workers = workers }
    a = net:uas("10.0.0.1", "a")
    alice = net:uac((what or "") .. "192.0.2.7", "alice")
    mark()
  end

  local function counted()
    local now, drops = parse_errors()
    local found = {}
    for i, reason in ipairs(reasons) do
      for _ = 1, now[i] - before[i] do
        found[#found + 1] = reason
      end
    end
    return table.concat(found, " "), drops - dropped
  end

  -- Sends it and holds what comes back against a row.
  local function is_refused(bytes, answer, reason)
    mark()
    alice:send(bytes)
    net:run(0.1)
    assert.same({}, a.received)
    assert.same({}, alice.garbage)
    assert.equal(reason, counted())
    if answer == "dropped" then
      assert.equal(0, #alice.received)
      assert.equal(1, select(2, counted()))
      return
    end
    local got = alice.received[1]
    assert.equal(1, #alice.received)
    assert.equal("SIP/2.0 " .. answer, got.bytes:match "^[^\r]*")
    assert.equal("", got.body)
    assert(#got.bytes <= 1.5 * #bytes, #got.bytes .. " bytes for " .. #bytes)
    for _, name in ipairs { "From", "To", "Call-ID", "CSeq" } do
      assert.equal(1, #got:all(name), name)
    end
    assert(not got.bytes:find "Inject\r?\n" and not got.bytes:find "[^\\]%z")
  end

  local function is_taken(bytes)
    mark()
    alice:send(bytes)
    net:run(0.1)
    assert.equal("", counted())
    assert.equal(1, #a.received, alice.received[1] and alice.received[1].bytes)
    assert.equal(1, #alice.received)
    return a.received[1]
  end

  it("have a spec each", function()
    local rows = page.rows(doc, "| what | limit | constant | beyond | counted as |")
    for _, row in ipairs(rows) do
      assert(sizes[row.what], row.what)
    end
    rows = page.rows(doc, "| what | answer | counted as |")
    for _, row in ipairs(rows) do
      assert(refused[row.what], row.what)
    end
    local n = 0
    for _ in pairs(refused) do
      n = n + 1
    end
    assert.equal(n, #rows)
  end)

  describe("over UDP:", function()
    setup(function() open() end)
    teardown(sim.finish)

    for _, row in ipairs(page.rows(doc, "| what | limit | constant | beyond | counted as |")) do
      local n = math.tointeger(row.limit)
      it(("%d %s are taken, one more is %s"):format(n, row.what, row.beyond), function()
        is_taken(sizes[row.what](n))
        is_refused(sizes[row.what](n + 1), row.beyond, page.code(row["counted as"]))
      end)
    end

    for _, row in ipairs(page.rows(doc, "| what | answer | counted as |")) do
      it(row.what .. " is " .. row.answer, function()
        is_refused(refused[row.what], row.answer, page.code(row["counted as"]))
      end)
    end

    it("break no response: it is dropped, and the request goes on waiting", function()
      for what, bytes in pairs(refused) do
        -- what is wrong with the start line of a request is none of a response
        if not what:find "Request%-URI" and bytes:find "^OPTIONS sip:bob@example.com SIP/2.0\r\n"
          and not what:find "Max%-Forwards" and what ~= "a CSeq of another method"
          and not what:find "^a Route" and not what:find "^a parameter" and not what:find "^a Via"
          and what ~= "no Via" then
          mark()
          a:on("OPTIONS", function(req, reply)
            local via = req:list "Via"
            local answer = bytes:gsub("^[^\r]*", "SIP/2.0 200 OK")
              :gsub("\r\nVia: [^\r]*", function()
                return "\r\nVia: " .. table.concat(via, "\r\nVia: ")
              end)
            a:send(answer, req.source)
            a:after(1, function() reply(486) end)
          end)
          alice:send(request {})
          net:run(0.5)
          assert.same({ what, 0 }, { what, #alice.received })
          assert.equal(1, select(2, counted()))
          net:run(1)
          assert.same({ what, 486 }, { what, alice.received[1].code })
        end
      end
      a:on("OPTIONS", nil)
    end)

    it("break no ACK: it is dropped", function()
      for what, bytes in pairs(refused) do
        mark()
        bytes = bytes:gsub("^OPTIONS ", "ACK ", 1):gsub("OPTIONS", "ACK")
        alice:send(bytes)
        net:run(0.1)
        assert.same({ what, 0, 0 }, { what, #alice.received, #a.received })
      end
    end)

    describe("white space before the colon, short names and folds", function()
      for name, field in pairs {
        ["a space (CVE-2020-28361)"] = "X-Secret : 1",
        ["a tab"] = "X-Secret\t: 1",
        ["another spelling"] = "x-sECRET:1",
        ["a fold"] = "X-Secret:\r\n 1\r\n\t2",
        ["a space and a fold"] = "X-Secret \t :\r\n 1",
        ["a short name"] = "s: 1",
        ["a short name with a space"] = "S : 1\r\n 2",
        ["the long form of it"] = "SUBJECT  : 1",
      } do
        it("hide nothing from a script: " .. name, function()
          local got = is_taken(request { more = { "X-Before: 1", field, field, "X-After : 2" } })
          assert.matches("\r\nX-Before: 1\r\nX-After : 2\r\n", got.bytes, 1, true)
        end)
      end

      it("are passed on as they are", function()
        local more = { "x-OTHER \t:  a\r\n  b ", "k : 1, 2", "X-Bell: \7\127\255", "x-other:" }
        local got = is_taken(request { more = more })
        assert.matches("\r\n" .. table.concat(more, "\r\n") .. "\r\n", got.bytes, 1, true)
      end)
    end)

    it("leave nothing behind", function()
      net:run(70)
      for worker = 1, workers do
        local stats = net.nodes[1]:stats(worker)
        assert.same({ 0, 0, 0 }, { stats.servers, stats.clients, stats.requests })
      end
    end)
  end)

  describe("over TCP:", function()
    local callers, seen = 0, nil

    setup(function() open("tcp:") end)
    teardown(sim.finish)

    local framing = { "no_length", "bad_length", "too_big", "bare_lf", "not_sip" }

    local function framing_errors()
      local found = {}
      for i, reason in ipairs(framing) do
        found[i] = net:metric("tandem_framing_errors_total", { reason = reason })
      end
      return found
    end

    -- From a caller of its own: the answer, 1 when the connection ended, what went on, and
    -- why the stream made no sense.
    local function on_stream(bytes)
      callers = callers + 1
      alice = net:uac("tcp:192.0.2." .. 10 + callers, "alice" .. callers)
      mark()
      seen = framing_errors()
      alice:raw(bytes)
      net:run(1)
      local got, why = alice.received[1], ""
      for i, n in ipairs(framing_errors()) do
        why = n > seen[i] and framing[i] or why
      end
      return { got and got.bytes:match "^SIP/2.0 ([^\r]*)" or "", #alice.ended, #a.received, why }
    end

    it("what is no number, or two, ends the connection", function()
      for _, case in ipairs {
        { false, "400 Missing Content-Length", "no_length" },
        { "l: -5", "400 Bad Content-Length", "bad_length" },
        { "l: +5", "400 Bad Content-Length", "bad_length" },
        { "Content-Length : 5abc", "400 Bad Content-Length", "bad_length" },
        { "l: 5, 5", "400 Bad Content-Length", "bad_length" },
        { "l: 5\r\n 5", "400 Bad Content-Length", "bad_length" },
        { "l:", "400 Bad Content-Length", "bad_length" },
        { "l: 5\r\nContent-Length: 3", "400 Bad Content-Length", "bad_length" },
        { "l: 4294967301", "513 Message Too Large", "too_big" },
        { "l: 18446744073709551621", "513 Message Too Large", "too_big" },
        { "X: a\nl: 5", "400 Bare LF in header", "bare_lf" },
      } do
        local found = on_stream(request { body = "12345", length = case[1] })
        assert.same({ case[1], case[2], 1, 0, case[3] }, { case[1], table.unpack(found) })
      end
    end)

    it("what can be cut out for certain is 400, and the next one is read", function()
      for _, more in ipairs {
        "l: 5", "X: a\rContent-Length: 3", "X: \0", "To\1: 1", "f: <sip:evil@example.com>",
      } do
        local found = on_stream(request { body = "12345", more = { more } } .. request {})
        assert.same({ more, "400", 0, 1 }, { more, found[1]:sub(1, 3), found[2], found[3] })
        assert.equal(2, #alice.received)
      end
    end)

    it("a header of 32768 bytes passes, one more is 513", function()
      for extra = 0, 1 do
        local fields = list(4, "X: " .. long(8000))
        fields[5] = "Y: " .. long(32768 + extra - #request { more = fields } - 5)
        local bytes = request { more = fields }
        assert.equal(32768 + extra, #bytes)
        local found = on_stream(bytes)
        assert.same({ extra == 0 and "200" or "513", extra, 1 - extra },
          { found[1]:sub(1, 3), found[2], found[3] })
      end
    end)

  end)

  local function of_size(size)
    local n = size - #request {}
    local bytes = request { body = ("b"):rep(n - #tostring(n) + 1) }
    assert.equal(size, #bytes)
    return bytes
  end

  -- With our Via it has more bytes than a message may have: no transport helps, and it must
  -- not be tried for ever.
  for _, server in ipairs { "udp", "tcp", "udp both" } do
    it("of 65535 bytes on a connection are read, one more is 513: to a server by " .. server,
      function()
        local uri = '"sip:10.0.0.1"'
        net = sim.new { workers = workers, source = script:gsub(uri, server == "tcp"
          and '"sip:10.0.0.1;transport=tcp"' or uri) }
        a = net:uas("10.0.0.1", server == "udp" and "a"
          or { name = "a", transports = { "udp", "tcp" } })
        alice = net:uac("tcp:192.0.2.7", "alice")
        for i, size in ipairs { 65535, 65300, 65535, 65536 } do
          mark()
          alice:raw(of_size(size))
          net:run(1)
          assert.same({ i, ({ 500, 200, 500, 513 })[i] }, { i, alice.received[1].code })
          assert.equal(i == 2 and 1 or 0, #a.received)
          assert.equal(i == 4 and 1 or 0, #alice.ended)
        end
        sim.finish()
      end)
  end

  it("on a connection are what max_message says", function()
    net = sim.new { workers = workers, source = script:gsub("trust = ",
      "tcp = { max_message = 1024 }, trust = ") }
    a, alice = net:uas("10.0.0.1", "a"), net:uac("tcp:192.0.2.7", "alice")
    for extra = 0, 1 do
      mark()
      alice:raw(of_size(1024 + extra))
      net:run(1)
      assert.equal(extra == 0 and 200 or 513, alice.received[1].code)
      assert.same({ extra, 1 - extra }, { #alice.ended, #a.received })
    end
    sim.finish()
  end)

  -- ---- what a script may write ----

  describe("a script", function()
    local edits = {
      ["CR LF in a value"] = 'req:set_header("X", "a\\r\\nY: b")',
      ["CR in a value"] = 'req:add_header("X", "a\\rY: b")',
      ["LF in a value"] = 'req:add_header("X", "a\\nY: b")',
      ["NUL in a value"] = 'req:set_header("X", "a\\0b")',
      ["CR LF in a name"] = 'req:set_header("X\\r\\nY", "1")',
      ["a colon in a name"] = 'req:set_header("X:", "1")',
      ["a space in a name"] = 'req:add_header("X ", "1")',
      ["an empty name"] = 'req:add_header("", "1")',
      ["Content-Length"] = 'req:set_header("l", "9")',
      ["CR LF in the Request-URI"] = 'req.ruri = "sip:a SIP/2.0\\r\\nX: 1"',
      ["CR LF in a host"] = 'req.ruri.host = "a SIP/2.0\\r\\nX: 1"',
      ["CR LF in a reason"] = 'req:reply(486, "Busy\\r\\nX: 1")',
      ["CR LF in a header of a reply"] =
        'req:reply(486, "Busy", { headers = { X = "1\\r\\nY: 2" } })',
      ["a header longer than a line may be"] = 'req:set_header("X", ("x"):rep(9000))',
    }
    local names = {}
    for name in pairs(edits) do
      names[#names + 1] = name
    end
    table.sort(names)

    setup(function()
      local list_of = {}
      for i, name in ipairs(names) do
        list_of[i] = ("edits[%d] = function(req) %s end"):format(i, edits[name])
      end
      net = sim.new { workers = workers, source = ([[
        local sip = require "tandem"
        sip.listen { "udp:0.0.0.0:5060" }
        local pool = sip.pool("pool", { servers = { { name = "a", uri = "sip:10.0.0.1" } },
          check = false })
        local edits = {}
        %s
        sip.route(function(req)
          local edit = edits[tonumber(req.ruri.user)]
          if edit then
            sip.log.info(pcall(edit, req) and "written" or "refused")
          else
            req.ruri.user = "a\r\nX: 1"
          end
          return req:relay(pool)
        end)
      ]]):format(table.concat(list_of, "\n")) }
      a, alice = net:uas("10.0.0.1", "a"), net:uac("192.0.2.7", "alice")
    end)
    teardown(sim.finish)

    for i, name in ipairs(names) do
      it("cannot write " .. name, function()
        mark()
        local refusals = net:count("script", { message = "refused" })
        alice:send(request { uri = ("sip:%d@example.com"):format(i) })
        net:run(0.1)
        assert.equal(refusals + 1, net:count("script", { message = "refused" }))
        assert.equal(1, #a.received)
        assert.is_nil(a.received[1]:header "X")
        assert.is_nil(a.received[1]:header "Y")
        assert.equal(200, alice.received[1].code)
      end)
    end

    it("writes a user with any byte, escaped", function()
      mark()
      alice:send(request {})
      net:run(0.1)
      assert.equal("sip:a%0D%0AX%3A%201@example.com", a.received[1].uri)
      assert.is_nil(a.received[1]:header "X")
    end)
  end)
end)
