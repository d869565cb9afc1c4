-- The page for Prometheus as text: from raw numbers of workers and of the host.
local catalog = require "tandem.control.catalog"
local metrics = require "tandem.control.metrics"

-- What one worker answers; `more` in place of what is said here.
local function worker(more)
  local answer = { counters = {}, histograms = {}, bounds = { 0.005, 0.5 }, user = {}, worker = 0 }
  for key, value in pairs(more or {}) do
    answer[key] = value
  end
  return answer
end

local function text(...)
  return metrics.text { workers = { ... } }
end

local function lines(page)
  local list = {}
  for line in page:gmatch "[^\n]+" do
    list[#list + 1] = line
  end
  return list
end

local function user(name, labels, value, help)
  return { name = name, labels = labels, value = value, help = help or "H." }
end

describe("the page of metrics", function()
  it("is empty without numbers", function()
    assert.equal("", text())
    assert.equal("", text(worker()))
  end)

  it("says what each metric is, once, and ends with a new line", function()
    local page = text(worker { counters = {
      { "tandem_messages_total", "transport=udp,direction=in,kind=request", 3 },
      { "tandem_no_ack_total", "", 4 },
      { "tandem_messages_total", "transport=tcp,direction=in,kind=request", 5 },
    } })
    assert.equal(table.concat({
      "# HELP tandem_messages_total SIP messages.", "# TYPE tandem_messages_total counter",
      'tandem_messages_total{transport="udp",direction="in",kind="request"} 3',
      'tandem_messages_total{transport="tcp",direction="in",kind="request"} 5',
      "# HELP tandem_no_ack_total Finals to an INVITE that nobody acknowledged.",
      "# TYPE tandem_no_ack_total counter", "tandem_no_ack_total 4", "",
    }, "\n"), page)
  end)

  it("has the order of the catalog, whatever the order of the numbers", function()
    local rows = {}
    for i = #catalog.list, 1, -1 do
      if catalog.list[i].type == "counter" then
        rows[#rows + 1] = { catalog.list[i].name, "", i }
      end
    end
    local last, seen = 0, 0
    for _, line in ipairs(lines(text(worker { counters = rows }))) do
      local value = line:match "^[%l_%d]+ (%d+)$"
      if value then
        assert.is_true(tonumber(value) > last)
        last, seen = tonumber(value), seen + 1
      end
    end
    assert.equal(#rows, seen)
  end)

  it("sums up what the workers have counted", function()
    local function counts(n)
      return worker { worker = n, counters = { { "tandem_no_ack_total", "", n + 1 } },
        alive = { servers = 2, clients = 3, requests = 1, lua_bytes = 1000 + n, bytes = 5 } }
    end
    local page = text(counts(0), counts(1), counts(2))
    for _, line in ipairs {
      "tandem_no_ack_total 6", 'tandem_transactions{role="server"} 6',
      'tandem_transactions{role="client"} 9', "tandem_requests_open 3",
      'tandem_lua_memory_bytes{worker="0"} 1000', 'tandem_lua_memory_bytes{worker="2"} 1002',
    } do
      assert(page:find("\n" .. line .. "\n", 1, true), line)
    end
  end)

  it("has histograms that grow up to +Inf, with sum and count", function()
    local function observed(counts, sum)
      return worker { histograms = { {
        name = "tandem_request_duration_seconds", labels = "method=INVITE", counts = counts,
        sum = sum,
      } } }
    end
    local page = lines(text(observed({ 1, 0, 2 }, 70.25), observed({ 0, 4, 1 }, 0.5)))
    local name = "tandem_request_duration_seconds"
    assert.same({
      name .. '_bucket{method="INVITE",le="0.005"} 1',
      name .. '_bucket{method="INVITE",le="0.5"} 5',
      name .. '_bucket{method="INVITE",le="+Inf"} 8', name .. '_sum{method="INVITE"} 70.75',
      name .. '_count{method="INVITE"} 8',
    }, { table.unpack(page, 3) })
  end)

  it("has a histogram without labels too", function()
    local page = text(worker { histograms = { {
      name = "tandem_event_loop_lag_seconds", labels = "", counts = { 1, 0, 0 }, sum = 0,
    } } })
    assert(page:find('\ntandem_event_loop_lag_seconds_bucket{le="0.005"} 1\n', 1, true))
    assert(page:find("\ntandem_event_loop_lag_seconds_count 1\n", 1, true))
  end)

  it("writes numbers as Prometheus reads them", function()
    local function shown(value)
      local page = metrics.text { workers = {}, facts = { { "tandem_workers", {}, value } } }
      return page:match "\ntandem_workers (%S+)\n"
    end
    for value, expected in pairs {
      [3.0] = "3", [17] = "17", [0.1] = "0.1", [-2] = "-2", [1e15] = "1000000000000000",
      [2 ^ 53] = "9007199254740992", [math.maxinteger] = "9223372036854775807",
      [1e300] = "1e+300", [1795808109.264] = "1795808109.264", [math.huge] = "+Inf",
      [-math.huge] = "-Inf",
    } do
      assert.equal(expected, shown(value))
    end
    assert.equal("NaN", shown(0 / 0))
  end)

  it("quotes what is in labels", function()
    local page = metrics.text { workers = {}, pools = { {
      pool = 'a"b\\c\nd', tier = 1, usable = 0, servers = 0, failovers = 0, retries = 0,
      last_resort = 0,
    } } }
    assert(page:find('\ntandem_pool_active_tier{pool="a\\"b\\\\c\\nd"} 1\n', 1, true), page)
    assert.equal('"\u{FFFD}\u{FFFD}ä\u{FFFD}"', metrics.quote "\0\255ä\r")
    assert.equal('"3"', metrics.quote(3.0))
  end)

  it("has a series of each status, outcome and result of a server", function()
    local stats = { ok = 1, rejected = 2, ["503"] = 3, timeout = 4, transport = 5, cancelled = 6,
      check_ok = 7, check_failed = 8, to_unknown = 9, to_up = 10, to_falling = 11, to_down = 12,
      to_rising = 13, down = 1.5 }
    local page = metrics.text { workers = {}, servers = { {
      pool = "p", server = "s", status = "held", tier = 1, weight = 2, calls = 3, inflight = 4,
      setup = 5, latency = 0.25, max_calls = 9, stats = stats,
    } } }
    local function has(line)
      assert(page:find("\n" .. line:gsub("%$", 'pool="p",server="s"') .. "\n", 1, true), line)
    end
    for word, n in pairs { up = 0, held = 1, down = 0, drain = 0, maint = 0 } do
      has(('tandem_server_status{$,status="%s"} %d'):format(word, n))
    end
    for word, n in pairs { ok = 1, rejected = 2, ["503"] = 3, timeout = 4, cancelled = 6 } do
      has(('tandem_server_attempts_total{$,outcome="%s"} %d'):format(word, n))
    end
    has 'tandem_server_checks_total{$,result="failed"} 8'
    has 'tandem_server_transitions_total{$,to="down"} 12'
    has "tandem_server_down_seconds_total{$} 1.5"
    has "tandem_server_latency_seconds{$} 0.25"
    has "tandem_server_call_limit{$} 9"
    assert.is_nil(page:find "tandem_server_rate_limit")
  end)
end)

describe("the counters of a script", function()
  it("come last, by name, with the first help that says something", function()
    local page = lines(text(worker {
      counters = { { "tandem_no_ack_total", "", 1 } },
      user = { user("b", "", 1, ""), user("a", 'x="1"', 2), user("b", 'x="2"', 3, "Of b.") },
    }))
    assert.same({
      "# HELP tandem_user_a_total H.", "# TYPE tandem_user_a_total counter",
      'tandem_user_a_total{x="1"} 2', "# HELP tandem_user_b_total Of b.",
      "# TYPE tandem_user_b_total counter", "tandem_user_b_total 1",
      'tandem_user_b_total{x="2"} 3',
    }, { table.unpack(page, 4) })
  end)

  it("have a help in one line, also when they have none", function()
    local page = text(worker { user = { user("a", "", 1, "one\ntwo \\ three\r\255") } })
    assert(page:find("# HELP tandem_user_a_total one\\ntwo \\\\ three\u{FFFD}\u{FFFD}\n", 1, true))
    page = text(worker { user = { user("a", "", 1, "") } })
    assert(page:find("# HELP tandem_user_a_total A counter of the script.\n", 1, true))
  end)

  it("are one where their names would be: no series comes twice", function()
    local page = text(worker { user = { user("a", "", 1), user("a_total", "", 2) } })
    assert(page:find("\ntandem_user_a_total 3\n", 1, true), page)
    assert.equal(3, #lines(page))
  end)

  it("cannot be taken for the proxy's own", function()
    local page = text(worker { user = { user("tandem_no_ack_total", "", 1) } })
    assert.is_nil(page:find "\ntandem_no_ack_total ")
  end)
end)

describe("the pages of servers", function()
  it("are put together", function()
    local asked = {}
    local all = metrics.pages(function(args)
      asked[#asked + 1] = args.from
      if args.from == 1 then
        return { pools = { "p" }, servers = { 1, 2 }, next = 3 }
      end
      return { servers = { 3 }, next = args.from < 5 and args.from + 2 or nil }
    end)
    assert.same({ pools = { "p" }, servers = { 1, 2, 3, 3 }, user = {} }, all)
    assert.same({ 1, 3, 5 }, asked)
  end)

  it("are none when one is missing", function()
    assert.same({ nil, "gone" }, { metrics.pages(function(args)
      if args.from == 1 then
        return { servers = {}, next = 2 }
      end
      return nil, "gone"
    end) })
  end)
end)
