-- The log of the running program: what never stands in it, its formats, and readers who
-- do not read.
local cjson = require "cjson"
local http = require "support.http"
local process = require "support.process"
local sh = require "support.sh"
local sipp = require "support.sipp"

local build = os.getenv "BUILD" or "build/san"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", { check = false,
  servers = { { name = "a", uri = "sip:127.0.0.1:%{server}" } } })
sip.route("MESSAGE", function(req)
  sip.log.info("on purpose", { auth = req:header "Authorization" })
  error("cannot reach " .. tostring(req.ruri) .. ": " .. req:header "Authorization")
end)
sip.route(function(req)
  if not req:relay(pbx) then return req:reply(500) end
end)
]]

-- A request with every kind of secret; `line` ends its lines.
local function secret(method, port, id, line)
  return table.concat({
    ("%s sip:bob:geheim@127.0.0.1:%d SIP/2.0"):format(method, port),
    "Via: SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bK" .. id,
    "From: <sip:a:geheim@example.org>;tag=1", "To: <sip:x:geheim@example.org>",
    "Call-ID: " .. id, "CSeq: 1 " .. method, "Max-Forwards: 70",
    'Authorization: Digest username="a", response="0123456789abcdef"',
    "Proxy-Authorization: Basic Z2VoZWlt", "Content-Length: 0", "", "",
  }, line or "\r\n")
end

describe("the log", function()
  local port, server

  before_each(function()
    port, server = process.ports(2)
  end)
  after_each(process.clean)

  local function start(...)
    process.write("route.lua", process.fill(source, { port = port, server = server }))
    local tandem = process.start { name = "tandem", argv = { build .. "/tandem", "-c",
      process.path "route.lua", "--lua-dir", "lua", ... } }
    tandem:wait_bound(port)
    return tandem
  end

  for _, format in ipairs { "logfmt", "json" } do
    it("has no secrets at debug level, in " .. format, function()
      local tandem = start("-L", "debug", "--log-format", format)
      process.send(port, secret("OPTIONS", port, "one"))
      process.send(port, secret("INVITE", port, "two"))
      process.send(port, secret("OPTIONS", port, "three", "\n")) -- malformed
      process.send(port, (secret("INVITE", port, "four"):gsub("CSeq: 1", "CSeq: x")))
      process.send(port, secret("MESSAGE", port, "five"))
      assert.truthy(process.eventually(5, function()
        return tandem:output():find("lua.error", 1, true)
      end))
      assert.truthy(process.eventually(5, function()
        local seen = 0
        for _, id in ipairs { "one", "two", "four", "five" } do
          seen = seen + (tandem:output():find(id, 1, true) and 1 or 0)
        end
        return seen == 4
      end))
      local masked = 0
      for line in tandem:output():gmatch "[^\n]+" do
        if line:find("on purpose", 1, true) then
          assert.matches("0123456789abcdef", line, 1, true) -- the script's own business
        else
          for _, word in ipairs { "geheim", "0123456789abcdef", "Z2VoZWlt" } do
            assert.is_nil(line:find(word, 1, true), line)
          end
          masked = masked + select(2, line:gsub("%*%*%*", ""))
        end
      end
      assert(masked >= 6, masked)
    end)
  end

  it("is JSON, each line of it, when that is asked for", function()
    local tandem = start("-L", "debug", "--log-format", "json")
    process.send(port, secret("MESSAGE", port, "one"))
    tandem:signal "HUP"
    tandem:signal "USR1"
    assert.truthy(process.eventually(5, function()
      local output = tandem:output()
      return output:find '"event":"reload"' and output:find '"event":"lua.error"'
        and output:find '"event":"stats"'
    end))
    tandem:signal "INT"
    assert.equal(0, tandem:wait())
    local events = {}
    for line in tandem:output():gmatch "[^\n]+" do
      local event = cjson.decode(line)
      events[event.event] = event
    end
    assert.equal("number", type(events.start.pid))
    assert.matches("stack traceback", events["lua.error"].trace, 1, true)
    assert.equal("INT", events.stop.by)
  end)

  it("has priorities for the journal, and only for it", function()
    process.write("route.lua", process.fill(source, { port = port, server = server }))
    local command = ("exec %s/tandem -c %s --lua-dir lua"):format(build, process.path "route.lua")
    local function lines(name, variable)
      local tandem = process.start { name = name, argv = { "sh", "-c",
        "export JOURNAL_STREAM=" .. variable .. "; " .. command } }
      tandem:wait_bound(port)
      process.send(port, secret("MESSAGE", port, name))
      assert.truthy(process.eventually(5, function()
        return tandem:output():find("lua.error", 1, true)
      end))
      tandem:signal "INT"
      assert.equal(0, tandem:wait())
      return tandem:output()
    end
    local journal = lines("journal", "$(stat -L -c %d:%i /proc/self/fd/2)")
    for line in journal:gmatch "[^\n]+" do
      local priority, level = line:match "^<(%d)>ts=%S+ level=(%l+) "
      assert.equal(({ error = "3", warn = "4", info = "6" })[level], priority)
    end
    -- inherited by who is started by a service and writes elsewhere
    assert.is_nil(lines("other", "1:1"):find "<%d>")
  end)

  it("holds up no call when nobody reads it, and says how much was lost", function()
    local ctl, fifo = process.path "ctl.sock", process.path "fifo"
    process.write("route.lua", process.fill(source, { port = port, server = server }))
    assert(sh.run("mkfifo " .. fifo))
    local tandem = process.start { name = "tandem", argv = { "sh", "-c",
      ("exec %s/tandem -c %s --lua-dir lua -L debug --ctl %s 2<>%s"):format(build,
        process.path "route.lua", ctl, fifo) } }
    tandem:wait_bound(port)
    sipp.server("answer", { name = "a", port = server, values = { ring = 0 }, quiet = true })
    local function dropped()
      local _, text = http.ask(ctl, "/metrics")
      return tonumber(text:match "\ntandem_log_dropped_total (%d+)")
    end
    assert.equal(0, dropped())
    sipp.call("call", { proxy = "127.0.0.1:" .. port, values = { hold = 0 }, calls = 500,
      rate = 400, quiet = true })
    assert(dropped() > 0)
    -- somebody reads again
    process.start { name = "reader", argv = { "cat", fifo } }
    local said = process.eventually(5, function()
      return (process.read(process.path "reader.log") or ""):match "event=log.dropped lines=(%d+)"
    end)
    assert.equal(dropped(), tonumber(said))
    tandem:signal "INT"
    assert.equal(0, tandem:wait())
  end)
end)
