-- /metrics of the running program, read by Prometheus' own tool, with real calls.
local catalog = require "tandem.control.catalog"
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.settings { timers = { t1 = 0.1 } }
sip.counter("odd", "", { text = 'a"b\\c\nd\255,e="' })
local calls = sip.counter("calls", "Calls that were\nrelayed.", { kind = "any" })
local pbx = sip.pool("pbx", { check = { interval = 1, timeout = 0.5 }, servers = {
  { name = "a", uri = "sip:127.0.0.1:%{a}", max_calls = 50 },
  { name = "b", uri = "sip:127.0.0.1:%{b}", tier = 2, max_cps = 100 } } })
sip.route(function(req)
  calls:add()
  return req:relay(pbx)
end)
]]

describe("the metrics of the running program", function()
  local tandem, ctl, tcp, port, a, b

  local function start(options)
    local web
    port, a, b, web = process.ports(4)
    ctl, tcp = process.path "ctl.sock", "127.0.0.1:" .. web
    options = options or {}
    tandem = proxy.start { workers = 1,
      source = options.source or source, values = { port = port, a = a, b = b },
      args = { "--ctl", ctl, "--http", tcp }, binary = options.binary, env = options.env,
    }
  end
  after_each(process.clean)

  -- The page: its text, and every sample by what stands before its value.
  local function page()
    local status, text, kind = http.ask(ctl, "/metrics")
    assert.equal(200, status)
    assert.equal("text/plain;", kind)
    local samples = {}
    for line in text:gmatch "[^\n]+" do
      local name, value = line:match "^([^#].*) (%S+)$"
      if name then
        assert.is_nil(samples[name], name)
        samples[name] = tonumber(value)
      end
    end
    return text, samples
  end

  local function check(text)
    local ok, output = sh.run("promtool check metrics <" .. process.write("page", text))
    assert(ok and output == "", output)
  end

  it("are as promtool wants them, and all there, after calls", function()
    start()
    sipp.server("answer", { name = "a", port = a, quiet = true, values = { ring = 100 } })
    tandem:wait_logged("server.health", { server = "b", to = "down" }, 10)
    tandem:wait_logged("server.health", { server = "a", to = "up" }, 10)
    local load = sipp.start("call", {
      proxy = "127.0.0.1:" .. port, calls = 20, rate = 50, quiet = true,
      values = { hold = 100 },
    })
    load:succeed()
    local text, is = page()
    check(text)
    assert.equal(20, is['tandem_requests_total{method="INVITE"}'])
    assert.equal(20, is['tandem_responses_total{method="INVITE",code="200"}'])
    assert.equal(20, is['tandem_responses_total{method="BYE",code="200"}'])
    assert.equal(20, is['tandem_request_duration_seconds_count{method="INVITE"}'])
    assert.is_true(is['tandem_request_duration_seconds_sum{method="INVITE"}'] > 20 * 0.1)
    assert.equal(40, is['tandem_server_attempts_total{pool="pbx",server="a",outcome="ok"}'])
    assert.equal(1, is['tandem_server_status{pool="pbx",server="a",status="up"}'])
    assert.equal(1, is['tandem_server_status{pool="pbx",server="b",status="down"}'])
    assert.is_true(is['tandem_server_down_seconds_total{pool="pbx",server="b"}'] > 0)
    assert.equal(50, is['tandem_server_call_limit{pool="pbx",server="a"}'])
    assert.equal(1, is['tandem_pool_active_tier{pool="pbx"}'])
    assert.equal(20, is['tandem_user_calls_total{kind="any"}'])
    assert.equal(0, is['tandem_user_odd_total{text="a\\"b\\\\c\\nd\u{FFFD},e=\\""}'])
    assert.is_true(is['tandem_event_loop_lag_seconds_count'] > 10)
    for _, entry in ipairs(catalog.list) do
      assert(text:find("\n# TYPE " .. entry.name .. " " .. entry.type .. "\n", 1, true)
        or text:find("^# HELP " .. entry.name), entry.name)
    end
  end)

  it("say what the process is, and whether the last reload did", function()
    start()
    local before = os.time()
    local _, is = page()
    local pid = tandem:pid()
    assert.equal(1, is.tandem_workers)
    assert.equal(1, is['tandem_worker_answers{worker="0"}'])
    assert.equal(1, is.tandem_config_generation)
    assert.equal(1, is.tandem_config_last_reload_successful)
    assert.is_true(math.abs(is.tandem_config_last_reload_success_timestamp_seconds - before) < 30)
    assert.is_true(math.abs(is.process_start_time_seconds - before) < 30)
    assert.is_true(is.process_cpu_seconds_total > 0)
    local _, count = sh.run(("ls /proc/%d/fd | wc -l"):format(pid))
    assert.is_true(math.abs(is.process_open_fds - tonumber(count)) <= 3)
    assert.is_true(is.process_max_fds > is.process_open_fds)
    local resident = process.read(("/proc/%d/status"):format(pid)):match "VmRSS:%s+(%d+) kB"
    local ratio = is.process_resident_memory_bytes / (1024 * tonumber(resident))
    assert(ratio > 0.5 and ratio < 2, ratio)
    assert.is_true(is.process_virtual_memory_bytes >= is.process_resident_memory_bytes)

    local script = process.path "proxy.lua"
    local good = process.read(script)
    process.write("proxy.lua", good .. "\nerror 'no'\n")
    tandem:signal "HUP"
    tandem:wait_logged("config.rejected", nil, 10)
    local _, now = page()
    assert.equal(0, now.tandem_config_last_reload_successful)
    assert.equal(1, now.tandem_config_generation)
    assert.equal(is.tandem_config_last_reload_success_timestamp_seconds,
      now.tandem_config_last_reload_success_timestamp_seconds)

    process.write("proxy.lua", good)
    tandem:signal "HUP"
    tandem:wait_logged("reload", { generation = 2 }, 10)
    _, now = page()
    assert.equal(1, now.tandem_config_last_reload_successful)
    assert.equal(2, now.tandem_config_generation)
    assert.is_true(now.tandem_config_last_reload_success_timestamp_seconds
      > is.tandem_config_last_reload_success_timestamp_seconds)
  end)

  it("are read by Prometheus itself, with every value of every label", function()
    start()
    local own = "127.0.0.1:" .. process.ports(1)
    process.start { name = "prometheus", argv = {
      "prometheus", "--web.listen-address=" .. own,
      "--storage.tsdb.path=" .. process.path "prometheus-data",
      "--config.file=" .. process.write("prometheus.yml", ([[
global: { scrape_interval: 1s }
scrape_configs:
  - job_name: tandem
    static_configs: [ { targets: ["%s"] } ]
]]):format(tcp)),
    } }
    local function query(text)
      local ok, status, answer = pcall(http.ask, own, "/api/v1/query?query=" .. text)
      return ok and status == 200 and answer.data.result[1]
    end
    local up = process.eventually(30, function()
      local found = query "up"
      return found and found.value[2] == "1" and found
    end)
    assert(up, "it does not say that it could read them")
    assert.equal("tandem", up.metric.job)
    assert.equal('a"b\\c\nd\u{FFFD},e="', query("tandem_user_odd_total").metric.text)
    assert.equal("1", query("tandem_workers").value[2])
  end)

  -- Several pages of servers, and each of them once.
  it("have every server and every counter of many", function()
    start { binary = "build/tandem", source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
for p = 1, 3 do
  local servers = {}
  for i = 1, 350 do
    servers[i] = { name = "s" .. i, uri = ("sip:10.%d.%d.%d"):format(p, i // 250, i % 250) }
  end
  sip.pool("p" .. p, { check = false, servers = servers })
  for i = 1, 1000 do sip.counter("c" .. p, "Many.", { i = "n" .. i }) end
end
sip.route(function(req) return req:reply(404) end)
]] }
    local text, is = page()
    check(text)
    for p = 1, 3 do
      assert.equal(350, is[('tandem_pool_servers{pool="p%d"}'):format(p)])
      for i = 1, 350 do
        assert.equal(1, is[('tandem_server_tier{pool="p%d",server="s%d"}'):format(p, i)])
      end
      for i = 1, 1000 do
        assert.equal(0, is[('tandem_user_c%d_total{i="n%d"}'):format(p, i)])
      end
    end
  end)

  -- With a library in which the worker hangs in a call of C.
  describe("while a worker hangs", function()
    local function hang(seconds)
      process.send(port, table.concat({
        "OPTIONS sip:127.0.0.1:" .. port .. " SIP/2.0",
        "Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKhang", "Max-Forwards: 70",
        "From: <sip:x@example.net>;tag=1", "To: <sip:127.0.0.1>", "Call-ID: hang",
        "CSeq: 1 OPTIONS", "X-Hang: " .. seconds, "Content-Length: 0", "", "",
      }, "\r\n"))
    end

    before_each(function()
      local _, here = sh.run "pwd"
      start { env = ("LD_PRELOAD=%s/build/hang.so"):format(here:gsub("\n", "")),
        binary = "build/tandem", source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.settings { watchdog = false }
sip.every(0.05, function() end)
sip.route(function(req) return req:reply(480) end)
]] }
    end)

    it("are what they were, and say so: none looks like a restart", function()
      local _, before = page()
      assert.equal(1, before['tandem_worker_answers{worker="0"}'])
      hang(1000)
      local text, is
      process.eventually(20, function()
        text, is = page()
        return is['tandem_worker_answers{worker="0"}'] == 0
      end)
      assert.equal(0, is['tandem_worker_answers{worker="0"}'])
      assert.equal(1, is.tandem_workers)
      assert.is_true(is.process_open_fds > 0)
      assert.truthy(text:find("\ntandem_messages_total{", 1, true))
      for name, value in pairs(before) do
        if name:find "_total" then
          assert.is_true((is[name] or -1) >= value, name)
        end
      end
      check(text)
      tandem.expected = 128 + 9
      tandem:signal "KILL"
    end)

    it("say afterwards how late it was, and what was lost", function()
      hang(2)
      local ok, output = sh.run(("bash -c 'dd if=/dev/zero bs=60000 count=1000 status=none "
        .. ">/dev/udp/127.0.0.1/%d'"):format(port))
      assert(ok, output)
      -- The kernel says with the next datagram how many there would have been before.
      local lost = process.eventually(20, function()
        process.send(port, "\r\n")
        process.sleep(0.2)
        return tandem:logged("udp.lost")[1]
      end)
      assert.is_true(lost.receive_buffer > 0)
      local _, is = page()
      assert.equal(lost.receive_buffer, is['tandem_udp_lost_total{reason="receive_buffer"}'])
      assert.equal(0, is['tandem_udp_lost_total{reason="truncated"}'])
      local lag = "tandem_event_loop_lag_seconds_"
      assert.is_true(is[lag .. "count"] > is[lag .. 'bucket{le="1"}'])
      assert.is_true(is[lag .. "sum"] > 1)
    end)
  end)

  it("are read, over TCP too, and changed by nobody", function()
    start()
    local _, text = http.ask(tcp, "/metrics")
    assert(text:find("\ntandem_workers 1\n", 1, true))
    assert.equal(405, (http.ask(ctl, "/metrics", { method = "POST" })))
    assert.equal(200, (http.ask(ctl, "/metrics", { method = "HEAD" })))
  end)
end)
