-- What is counted, as the page for Prometheus has it: net:metric reads the same samples.
local catalog = require "tandem.control.catalog"
local metrics = require "tandem.control.metrics"
local policy = require "support.policy"
local sim = require "support.sim"

local uri = "sip:bob@example.com"

local source = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }
local calls = sip.counter("calls", "Calls.", { kind = "all" })
local pbx = sip.pool("pbx", {
  check = { interval = 5, fast_interval = 1, timeout = 1, jitter = 0 },
  failback = { hold = 1 }, passive = { fall = 1000 },
  servers = {
    { name = "a", uri = "sip:10.0.0.1", tier = 1, max_calls = 10 },
    { name = "b", uri = "sip:10.0.0.2", tier = 2, weight = 3 },
  },
})
sip.route(function(req)
  calls:add()
  return req:relay(pbx)
end)
]]

sim.for_workers("metrics", function(workers)
  after_each(sim.finish)

  local w, net

  local function open(opts)
    opts = opts or {}
    opts.workers, opts.source = workers, opts.source or source
    w = policy.world(opts)
    net = w.net
    net:run(8)
  end

  local function metric(name, labels)
    return net:metric("tandem_" .. name, labels)
  end

  local function call()
    local made = w.alice:call(uri)
    w.alice:bye(made)
    net:run(1)
    return made
  end

  -- ---- messages ----

  it("count messages by transport, direction and kind", function()
    open()
    local function count(transport, direction, kind)
      return metric("messages_total", {
        transport = transport, direction = direction, kind = kind,
      })
    end
    local tina = net:uac("tcp:192.0.2.8", "tina")
    local requests, responses = count("udp", "out", "request"), count("udp", "in", "response")
    assert.equal(0, count("tcp", "in", "request"))
    local made = tina:call(uri)
    assert.equal(200, made.code)
    net:run(0.1)
    assert.equal(2, count("tcp", "in", "request")) -- INVITE and ACK
    assert.equal(0, count("tls", "in", "request"))
    assert.equal(1, count("tcp", "out", "response"))
    assert.equal(requests + 2, count("udp", "out", "request"))
    assert.equal(responses + 1, count("udp", "in", "response"))
    tina:bye(made)
    net:run(1)
  end)

  it("count requests once each, by method", function()
    open()
    call()
    w.alice:request("FROB", uri)
    net:run(1)
    for method, n in pairs { INVITE = 1, ACK = 1, BYE = 1, CANCEL = 0, other = 1 } do
      assert.same({ method, n }, { method, metric("requests_total", { method = method }) })
    end
    local request = ("INVITE %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKagain\r\n"
      .. "Max-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: again\r\n"
      .. "CSeq: 1 INVITE\r\nContact: <sip:a@%s>\r\nContent-Length: 0\r\n\r\n")
      :format(uri, w.alice.addr, w.alice.addr)
    w.a:silence()
    for _ = 1, 3 do
      w.alice:send(request)
      net:run(0.1)
    end
    assert.equal(2, metric("requests_total", { method = "INVITE" }))
    assert.equal(2, metric("retransmissions_total", { direction = "in" }))
    net:run(70)
  end)

  it("count the responses that callers are sent, once each", function()
    open()
    local function sent(method, code)
      return metric("responses_total", { method = method, code = code })
    end
    w.a:ring(1)
    local made = call()
    assert.equal(200, made.code)
    assert.same({ 1, 1, 1 }, { sent("INVITE", 180), sent("INVITE", 200), sent("BYE", 200) })
    -- a 2xx that is repeated is one
    w.a:answer("INVITE", 200)
    made = w.alice:call(uri, { ack = false })
    net:run(3)
    w.alice:ack(made)
    assert.equal(2, sent("INVITE", 200))
    w.alice:bye(made)
    net:run(1)
    w.a:answer("INVITE", 486)
    assert.equal(486, w.alice:call(uri).code)
    assert.equal(1, sent("INVITE", 486))
  end)

  -- RFC 3261 27.4
  it("do not make a label of a code that no RFC names", function()
    open()
    for code = 451, 459 do
      w.a:once("INVITE", code)
      assert.equal(code, w.alice:call(uri).code)
    end
    assert.equal(9, metric("responses_total", { method = "INVITE", code = "4xx" }))
    for code = 451, 459 do
      assert.equal(0, metric("responses_total", { method = "INVITE", code = code }))
    end
  end)

  it("count errors of syntax by what is wrong", function()
    open()
    local function bad(reason)
      return metric("parse_errors_total", { reason = reason })
    end
    local head = "Via: SIP/2.0/UDP " .. w.alice.addr .. ";branch=z9hG4bK1\r\n"
    local tail = "From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n"
    for reason, bytes in pairs {
      not_sip = "hello\r\n\r\n",
      start_line = "OPTIONS sip:x SIP/3.0\r\n" .. head .. tail,
      header = "OPTIONS sip:x@y SIP/2.0\r\n" .. head .. "what is this\r\n" .. tail,
      identity = "OPTIONS sip:x@y SIP/2.0\r\n" .. head .. tail:gsub("1 OPTIONS", "x OPTIONS"),
      length = "OPTIONS sip:x@y SIP/2.0\r\n" .. head .. "Content-Length: 99\r\n" .. tail,
      routing = "OPTIONS sip:x@y SIP/2.0\r\n" .. head .. "Max-Forwards: x\r\n" .. tail,
      size = "OPTIONS sip:" .. ("x"):rep(2000) .. "@y SIP/2.0\r\n" .. head .. tail,
      via = "OPTIONS sip:x@y SIP/2.0\r\n" .. tail,
    } do
      assert.same({ reason, 0 }, { reason, bad(reason) })
      w.alice:send(bytes)
      net:run(0.1)
      assert.same({ reason, 1 }, { reason, bad(reason) })
    end
  end)

  it("count requests that are refused before the script sees them", function()
    open()
    local function send(target, lines)
      w.alice:send(("OPTIONS %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s\r\n"
        .. "From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n%s\r\n")
        :format(target, w.alice.addr, net:token(9), lines))
      net:run(0.1)
    end
    send("http:x", "")
    send(uri, "Max-Forwards: 0\r\n")
    send(uri, "Proxy-Require: magic\r\n")
    for _, reason in ipairs { "scheme", "max_forwards", "proxy_require" } do
      assert.same({ reason, 1 }, { reason, metric("invalid_requests_total", { reason = reason }) })
    end
    for _, code in ipairs { 416, 483, 420 } do
      assert.same({ code, 1 }, { code, metric("responses_total", { code = code }) })
    end
  end)

  -- ---- time ----

  it("say how long requests take, and how long callers hear nothing", function()
    open()
    w.a:on("INVITE", function(_, reply)
      net:after(0.3, function()
        reply(180)
      end)
      net:after(3, function()
        reply(200)
      end)
    end)
    call()
    local invite, other = { method = "INVITE" }, { method = "other" }
    assert.equal(1, metric("request_duration_seconds_count", invite))
    assert.near(3, metric("request_duration_seconds_sum", invite), 0.05)
    assert.near(0.3, metric("response_delay_seconds_sum", invite), 0.05)
    assert.equal(1, metric("request_duration_seconds_count", other)) -- BYE
    assert.equal(1, metric("response_delay_seconds_count", other))
    local function below(name, le)
      return metric(name .. "_bucket", { method = "INVITE", le = le })
    end
    assert.same({ 0, 1, 1 }, { below("request_duration_seconds", 2),
      below("request_duration_seconds", 4), below("request_duration_seconds", "+Inf") })
    assert.same({ 0, 1 }, { below("response_delay_seconds", 0.25),
      below("response_delay_seconds", 0.5) })
  end)

  it("take no 100 of our own for the first response", function()
    open()
    w.a:on("INVITE", function(_, reply)
      net:after(2, function()
        reply(486)
      end)
    end)
    assert.equal(486, w.alice:call(uri).code)
    assert.is_true(metric("responses_total", { code = 100 }) > 0)
    assert.equal(1, metric "response_delay_seconds_count")
    assert.near(2, metric "response_delay_seconds_sum", 0.05)
  end)

  it("say how long checks take that are answered", function()
    open()
    local n = metric "server_check_duration_seconds_count"
    assert.is_true(n >= 2)
    assert.is_true(metric "server_check_duration_seconds_sum" < 0.1 * n)
    w.a:silence()
    w.b:answer("OPTIONS", 200, nil, 0.5)
    net:run(20)
    local more = metric "server_check_duration_seconds_count" - n
    assert.is_true(more >= 3 and more <= 5, more) -- those of b only
    assert.near(0.5 * more, metric "server_check_duration_seconds_sum", 0.1)
  end)

  -- ---- servers ----

  local function attempts(server, outcome)
    return metric("server_attempts_total", { server = server, outcome = outcome })
  end

  it("count what became of what servers were sent", function()
    open()
    call()
    assert.same({ 2, 0 }, { attempts("a", "ok"), attempts("b", "ok") }) -- INVITE and BYE
    w.a:once("INVITE", 486)
    w.alice:call(uri)
    w.a:once("INVITE", 503)
    call()
    w.a:silence()
    call()
    assert.same({ 1, 1, 1, 0 }, { attempts("a", "rejected"), attempts("a", "503"),
      attempts("a", "timeout"), attempts("a", "transport") })
    w.a:resume()
    w.a:refuse()
    call()
    assert.equal(1, attempts("a", "transport"))
    assert.equal(0, attempts("a", "cancelled"))
    net:run(40)
  end)

  it("blame no server for a caller that hangs up", function()
    open()
    w.a:ring()
    local made = w.alice:invite(uri)
    net:run(1)
    w.alice:cancel(made)
    net:run(1)
    assert.equal(487, made.code)
    assert.equal(1, attempts("a", "cancelled"))
    assert.equal(1, metric("server_attempts_total", { server = "a" }))
    net:run(40)
  end)

  it("count requests that go on to another server, and those that had none", function()
    open()
    w.a:answer("INVITE", 503)
    call()
    assert.equal(1, metric("pool_retries_total", { pool = "pbx" }))
    w.a:silence()
    w.b:silence()
    net:run(30)
    assert.equal(0, metric "pool_active_tier")
    assert.equal(0, metric "pool_last_resort_total")
    w.alice:call(uri)
    assert.equal(1, metric("pool_last_resort_total", { pool = "pbx" }))
    net:run(70)
  end)

  it("say what servers are, what they have become, and for how long", function()
    open()
    local a = { server = "a" }
    local function status(server, word)
      return metric("server_status", { pool = "pbx", server = server, status = word })
    end
    assert.same({ 1, 0, 0 }, { status("a", "up"), status("a", "down"), status("a", "drain") })
    assert.equal(1, metric("server_status", a)) -- one of all
    assert.equal(10, metric("server_call_limit", a))
    assert.equal(0, metric("server_call_limit", { server = "b" }))
    assert.same({ 1, 2 }, { metric("server_tier", a), metric("server_tier", { server = "b" }) })
    assert.same({ 1, 3 }, { metric("server_weight", a), metric("server_weight", { server = "b" }) })
    assert.is_true(metric("server_checks_total", { server = "a", result = "ok" }) > 0)
    assert.equal(0, metric("server_checks_total", { server = "a", result = "failed" }))
    assert.same({ 1, 2, 2 }, { metric "pool_active_tier", metric "pool_usable_servers",
      metric "pool_servers" })

    w.a:silence()
    net:run(30)
    local function turned(word)
      return metric("server_transitions_total", { server = "a", to = word })
    end
    assert.same({ 1, 1, 1 }, { turned "up", turned "falling", turned "down" })
    assert.is_true(metric("server_checks_total", { server = "a", result = "failed" }) >= 3)
    assert.equal(1, status("a", "down"))
    assert.same({ 2, 1 }, { metric "pool_active_tier", metric "pool_usable_servers" })
    assert.equal(1, metric("pool_failovers_total", { pool = "pbx" }))
    local down = metric("server_down_seconds_total", a)
    assert.is_true(down > 10 and down < 30, down)
    net:run(10)
    assert.near(down + 10, metric("server_down_seconds_total", a), 0.001)
    assert.equal(0, metric("server_down_seconds_total", { server = "b" }))

    w.a:resume()
    net:run(30)
    down = metric("server_down_seconds_total", a)
    net:run(20)
    assert.equal(down, metric("server_down_seconds_total", a))
    assert.equal(1, metric("pool_failovers_total", { pool = "pbx" }))
  end)

  it("show the calls that are up, and what is under way", function()
    open()
    local made = w.alice:call(uri)
    assert.equal(1, metric("calls", { pool = "pbx", server = "a" }))
    w.alice:bye(made)
    net:run(1)
    assert.equal(0, metric("calls", { server = "a" }))
    w.a:ring()
    made = w.alice:invite(uri)
    net:run(1)
    assert.equal(1, metric("server_inflight_requests", { server = "a" }))
    assert.equal(1, metric("server_calls_in_setup", { server = "a" }))
    assert.equal(1, metric "requests_open")
    assert.is_true(metric("transactions", { role = "server" }) >= 1)
    assert.is_true(metric("transactions", { role = "client" }) >= 1)
    w.alice:cancel(made)
    net:run(80)
    assert.equal(0, metric("transactions", { role = "server" }))
    assert.equal(0, metric "requests_open")
  end)

  it("show the memory of each worker", function()
    open()
    for worker = 0, workers - 1 do
      assert.is_true(metric("lua_memory_bytes", { worker = worker }) > 100000)
      assert.is_true(metric("core_memory_bytes", { worker = worker }) > 1000)
    end
    assert.equal(0, metric("lua_memory_bytes", { worker = workers }))
  end)

  -- ---- reloads ----

  it("go on across a reload", function()
    open()
    w.a:once("INVITE", 503)
    call()
    w.a:silence()
    net:run(30)
    local before = {}
    local kept = {
      { "server_attempts_total", { server = "a", outcome = "503" } },
      { "server_transitions_total", { server = "a", to = "down" } },
      { "server_checks_total", { server = "a", result = "failed" } },
      { "server_down_seconds_total", { server = "a" } }, { "pool_failovers_total" },
      { "pool_retries_total" }, { "requests_total" }, { "user_calls_total" },
      { "request_duration_seconds_count" },
    }
    for i, item in ipairs(kept) do
      before[i] = metric(item[1], item[2])
      assert.is_true(before[i] > 0, item[1])
    end
    assert(net:reload())
    for i, item in ipairs(kept) do
      assert.same({ item[1], before[i] }, { item[1], metric(item[1], item[2]) })
    end
    assert.equal(2, net.nodes[1].generation)
    call()
    assert.equal(before[8] + 1, metric "user_calls_total")
    net:run(40)
  end)

  it("begin at 0 with the process, also of a server that was down before", function()
    open { source = (source:gsub("\nlocal calls", [[

sip.settings { state_dir = "/var/lib/tandem" }%0]])) }
    local node = net.nodes[1]
    local function down()
      return metric("server_down_seconds_total", { server = "a" })
    end
    w.a:silence()
    net:run(40)
    assert.is_true(down() > 20)
    node:crash()
    net:run(5)
    node:start()
    assert.equal("down", net.pools.pbx.a.status)
    assert.near(0, down(), 0.001)
    net:run(7)
    assert.near(7, down(), 0.001)
    assert(net:reload())
    assert.near(7, down(), 0.001)
    w.a:resume()
    net:run(30)
    local total = down()
    assert.is_true(total > 7 and total < 20, total)
    net:run(10)
    assert.equal(total, down())
  end)

  -- ---- the script ----

  it("count errors of the script by what ran", function()
    open {
      source = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", { servers = { { name = "a", uri = "sip:10.0.0.1" } }, check = false })
sip.after(1, function() error "timer" end)
sip.on("start", function() error "event" end)
sip.route(function(req)
  if req.ruri.user == "spin" then while true do end end
  if req.ruri.user == "error" then error "route" end
  return req:relay(pbx, { on_response = function() error "response" end })
end)
]],
    }
    local function errors(hook)
      return metric("lua_errors_total", { hook = hook })
    end
    w.alice:call "sip:error@example.com"
    call()
    w.alice:call "sip:spin@example.com"
    assert.same({ 1, 1 }, { errors "route", errors "timer" })
    assert.is_true(errors "on_response" >= 1)
    assert.equal(1, errors "task")
    assert.equal(1, metric("lua_kills_total", { reason = "instructions" }))
    net:finish { errors = net.nodes[1]:errors() }
  end)

  it("show the counters of the script by their names outside", function()
    open {
      source = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local a = sip.counter("seen_total", "Seen.", { what = 'a "b" \\ c,d=e\nf' })
local b = sip.counter("seen_total", "Seen.", { what = "\255\0x" })
sip.counter("empty", "")
sip.route(function(req) a:add(2) b:add() req:reply(404) end)
]],
    }
    w.alice:call(uri)
    assert.equal(3, net:metric "seen_total")
    assert.equal(3, net:metric "tandem_user_seen_total")
    assert.equal(2, net:metric("seen_total", { what = 'a "b" \\ c,d=e\nf' }))
    assert.equal(0, net:metric("seen_total", { what = "a" }))
    local families = net.nodes[1]:samples(true)
    assert.equal('what="a \\"b\\" \\\\ c,d=e\\nf"',
      families.tandem_user_seen_total.list[1].labels)
    assert.equal('what="\u{FFFD}\u{FFFD}x"', families.tandem_user_seen_total.list[2].labels)
    assert.equal(0, net:metric "empty")
  end)

  -- ---- all of them ----

  it("are all in the catalog, with their labels, and all of that are there", function()
    open()
    w.a:once("INVITE", 503)
    call()
    local families = net.nodes[1]:samples(true)
    for name, family in pairs(families) do
      local entry = catalog.by_name[name]
      if not name:find "^tandem_user_" then
        assert(entry, name)
        for _, sample in ipairs(family.list) do
          local labels = {}
          for label in sample.labels:gmatch '([%l_]+)="' do
            labels[#labels + 1] = label ~= "le" and label or nil
          end
          assert.same({ name, entry.labels }, { name, labels })
        end
      end
    end
    families.tandem_server_rate_limit = families.tandem_server_call_limit -- nobody has one
    for _, entry in ipairs(catalog.list) do
      assert.same({ entry.name, not entry.of_host },
        { entry.name, families[entry.name] ~= nil })
    end
  end)

  it("are nobody's that there is not", function()
    open()
    assert.error_matches(function()
      net:metric "tandem_nothing_total"
    end, "there is no metric tandem_nothing_total")
    assert.equal(0, net:metric "process_open_fds")
  end)

  it("become one page", function()
    open()
    call()
    local node, sources = net.nodes[1], { workers = {} }
    for worker = 1, workers do
      sources.workers[worker] = node:ask("metrics", nil, worker)
      sources.workers[worker].user = metrics.pages(function(args)
        return node:ask("metrics.user", args, worker)
      end).user
    end
    local all = metrics.pages(function(args)
      return node:ask("metrics.servers", args)
    end)
    sources.pools, sources.servers = all.pools, all.servers
    local page = metrics.text(sources)
    assert.matches('\ntandem_responses_total{method="INVITE",code="200"} 1\n', page, 1, true)
    assert.matches('\ntandem_user_calls_total{kind="all"} 1\n', page, 1, true)
  end)
end)

describe("a counter of a script", function()
  local function problem(line)
    return policy.load_error(([[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
%s
sip.route(function(req) req:reply(404) end)
]]):format(line))
  end

  it("has at most 1000 sets of labels", function()
    local text = 'for i = 1, %d do sip.counter("x", "X.", { i = tostring(i) }) end'
    assert.is_nil(problem(text:format(1000)))
    assert.matches("counter: 'x' has 1000 sets of labels already", problem(text:format(1001)))
    assert.is_nil(problem(text:format(1000) .. ' sip.counter("x", "X.", { i = "1" })'
      .. ' sip.counter("y", "Y.", {})'))
  end)

  it("has no labels that Prometheus keeps for itself", function()
    for _, name in ipairs { "__name__", "le", "quantile" } do
      assert.matches("'" .. name .. "' is no label name",
        problem(('sip.counter("x", "X.", { %s = "1" })'):format(name)))
    end
  end)
end)
