-- Why a call went where it went, asked of the running program: by ctl and by the API.
local cjson = require "cjson"
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", { check = false, servers = {
  { name = "a", uri = "sip:127.0.0.1:%{dead}", tier = 1 },
  { name = "b", uri = "sip:127.0.0.1:%{server}", tier = 2 } } })
sip.route(function(req) return req:relay(pbx) end)
]]

describe("tandem ctl", function()
  local port, dead, server, ctl

  before_each(function()
    port, dead, server = process.ports(3)
    ctl = process.path "ctl.sock"
    proxy.start {
      source = source, values = { port = port, dead = dead, server = server },
      args = { "--ctl", ctl },
    }
  end)
  after_each(process.clean)

  -- What the command says, and its exit code.
  local function run(words)
    local file = process.path "said"
    local _, _, code = os.execute(("build/tandem ctl -s %s %s >%s 2>&1"):format(sh.quote(ctl),
      words, sh.quote(file)))
    return process.read(file), code
  end

  local function call(ring)
    sipp.server("answer", { name = "b", port = server, values = { ring = ring or 0 } })
    return sipp.call("call", { name = "alice", proxy = "127.0.0.1:" .. port,
      values = { hold = 0 } })
  end

  local function id_of(caller)
    return caller:message("INVITE").text:match "Call%-ID: (%S+)"
  end

  it("why CALL-ID tells who was tried, and which line decided", function()
    local id = id_of(call())
    local said, code = run("why " .. id)
    assert.equal(0, code)
    assert.matches("^INVITE sip:[^\n]*\nCall%-ID " .. id:gsub("%p", "%%%0") .. "\n", said)
    assert.matches("\n200 after [%d.]+ s, decided at [^\n]*:6\n", said)
    assert.matches("a  tier 1  chosen\n", said, 1, true)
    assert.matches("b  tier 2  next: tier 1 is usable\n", said, 1, true)
    assert.matches("#1 failed: nobody listens on that port (icmp_port)\n", said, 1, true)
    assert.matches("a  tier 1  out: tried already\n", said, 1, true)
    assert.matches("200 to the caller\n", said, 1, true)
    assert.matches("\nBYE sip:", said, 1, true)
  end)

  it("why CALL-ID --ladder draws it", function()
    local id = id_of(call())
    local said, code = run("why --ladder " .. id)
    assert.equal(0, code)
    assert.matches("^ +caller +tandem +pbx/a +pbx/b\n", said)
    assert.matches("icmp_port", said, 1, true)
    assert.matches("|%-+INVITE%-+>|", said)
    assert.matches("|%-+BYE%-+>|", said)
  end)

  it("why lists the last requests, and those that failed", function()
    local id = id_of(call())
    process.send(port, table.concat({
      "MESSAGE sip:x@example.net SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKone",
      "Max-Forwards: 0", "From: <sip:x@example.net>;tag=1", "To: <sip:x@example.net>",
      "Call-ID: no-hop-left\27[31m", "CSeq: 1 MESSAGE", "Content-Length: 0", "", "" }, "\r\n"))
    process.send(port, table.concat({
      "MESSAGE sip:x@example.net SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKtwo",
      "Max-Forwards: 0", "From: <sip:x@example.net>;tag=1", "To: <sip:x@example.net>",
      "Call-ID: no/hop/left", "CSeq: 1 MESSAGE", "Content-Length: 0", "", "" }, "\r\n"))
    local said
    assert.truthy(process.eventually(5, function()
      said = run "why"
      return said:find("no/hop/left", 1, true)
    end))
    assert.matches("INVITE    200 .-  " .. id:gsub("%p", "%%%0")
      .. "  pbx/a:icmp_port, pbx/b:200\n", said)
    assert.is_nil(said:find("\27", 1, true))
    for _, as in ipairs { "text", "ladder" } do
      local status, text = http.ask(ctl, "/v1/why/no-hop-left%1B%5B31m?as=" .. as)
      assert.equal(200, status)
      assert.is_nil(text:find("\27", 1, true))
    end
    assert.matches("refused with 400: Bad Call-ID\n", run "why 'no-hop-left\27[31m'", 1, true)
    said = run "why --failed --last 1"
    assert.matches("^%S+  MESSAGE   483 +0.000  no/hop/left\n$", said)
    said = run "why no/hop/left"
    assert.matches("483, refused by the proxy itself\n", said, 1, true)
    assert.matches("refused with 483: Max-Forwards is used up\n", said, 1, true)
  end)

  it("calls shows what is open", function()
    sipp.server("ring", { name = "b", port = server })
    sipp.start("cancel_ringing", { name = "alice", proxy = "127.0.0.1:" .. port,
      values = { after = 5000 } })
    local value
    assert.truthy(process.eventually(5, function()
      local said = run "-o json calls"
      value = cjson.decode(said)
      return value.total == 1 and value.requests[1].state == "ringing"
    end))
    local request = value.requests[1]
    assert.equal("INVITE", request.method)
    assert.matches("^127.0.0.1:%d+;transport=udp$", request.from)
    assert.matches("^pbx/a:icmp_port:0.00,pbx/b:%-:0.00$", request.tried)
    assert.same({ { pool = "pbx", server = "b", calls = 0, inflight = 1 } }, value.servers)
    local said = run "calls"
    assert.matches("^1 open request\n", said)
    assert.matches("pbx/b +0 +1\n", said)
    assert.matches("open for [%d.]+ s\n", (run("why " .. request.call_id)))
  end)

  it("says what is wrong", function()
    for words, want in pairs {
      ["why nobody@knows"] = { 1, "nothing is known of Call%-ID 'nobody@knows'" },
      ["why x --last 3"] = { 2, "without %-%-last and %-%-failed" },
      ["why --ladder"] = { 2, "needs a Call%-ID" },
      ["why --last 0"] = { 2, "a number from 1 to 100, not '0'" },
      ["calls --last x"] = { 2, "a number from 1 to 1000, not 'x'" },
    } do
      local said, code = run(words)
      assert.matches(want[2], said)
      assert.equal(want[1], code)
    end
    assert.matches("^0 open requests\n$", (run "calls"))
  end)

  it("has the same from the API, as JSON or text", function()
    local id = id_of(call())
    local status, list, kind = http.ask(ctl, "/v1/why/" .. id)
    assert.equal(200, status)
    assert.equal("application/json", kind)
    local record = list[#list]
    assert.equal("INVITE", record.method)
    assert.equal(200, record.code)
    assert.equal("choice", record.steps[2].what)
    assert.equal("tier 1 is usable", record.steps[2].candidates[2].detail)
    assert.equal(list[1].call_id, select(2, http.ask(ctl, "/v1/why?last=1"))[1].call_id)
    for path, want in pairs {
      ["/v1/why/" .. id .. "?as=ladder"] = { 200, "caller +tandem" },
      ["/v1/why/" .. id .. "?as=text"] = { 200, "^INVITE sip:" },
    } do
      local code, text, type = http.ask(ctl, path)
      assert.equal(want[1], code)
      assert.equal("text/plain;", type)
      assert.matches(want[2], text)
    end
    for path, want in pairs {
      ["/v1/why/x"] = 404, ["/v1/why/x?as=png"] = 400, ["/v1/why?last=0"] = 400,
      ["/v1/calls?last=1001"] = 400, ["/v1/why?last=5&failed=1"] = 200,
    } do
      assert.equal(want, (http.ask(ctl, path)))
    end
    assert.same({}, select(2, http.ask(ctl, "/v1/calls")).requests)
  end)
end)
