-- The arithmetic of `make bench`: what its figures are made of.
local callgrind = require "bench.callgrind"
local baseline = require "bench.baseline"
local capture = require "bench.capture"
local compare = require "bench.compare"
local figures = require "bench.figures"
local counted = require "bench.counted"
local marked = require "bench.marked"
local metrics = require "bench.metrics"
local peers = require "bench.peers"
local plan = require "bench.plan"
local report = require "bench.report"
local ringing = require "bench.ringing"
local search = require "bench.search"
local sections = require "bench.sections"
local syscalls = require "bench.syscalls"
local workload = require "bench.workload"

describe("the highest rate", function()
  local function find(edge, from, limit, steps)
    local tried = {}
    local rate, is_bound = search.highest(from, limit, steps, function(n)
      tried[#tried + 1] = n
      return n <= edge
    end)
    return rate, tried, is_bound
  end

  it("is doubled to the edge, and then halved towards it", function()
    local rate, tried = find(2700, 1000, 32000, 3)
    assert.equal(2500, rate)
    assert.same({ 1000, 2000, 4000, 3000, 2500, 2750 }, tried)
  end)

  it("may be lower than where the search begins", function()
    local rate, tried = find(300, 1000, 32000, 2)
    assert.equal(250, rate)
    assert.same({ 1000, 500, 250, 375, 312 }, tried)
  end)

  it("is none when nothing is carried, after a few tries", function()
    local rate, tried = find(-1, 1000, 32000, 4)
    assert.equal(0, rate)
    assert(#tried <= 6, #tried)
  end)

  it("is not looked for beyond the limit", function()
    local rate, tried, is_bound = find(1e9, 1000, 5000, 4)
    assert.equal(5000, rate)
    assert.same({ 1000, 2000, 4000, 5000 }, tried)
    assert.is_true(is_bound)
  end)
end)

describe("figures", function()
  it("are medians of those there are", function()
    assert.equal(2, figures.median({ { x = 9 }, { x = 1 }, { x = 2 } }, "x"))
    assert.equal(1.5, figures.median({ { x = 2 }, {}, { x = 1 } }, "x"))
    assert.is_nil(figures.median({ {} }, "x"))
  end)

  it("are quantiles of what is sorted", function()
    local list = {}
    for i = 1, 200 do
      list[i] = i
    end
    assert.equal(100, figures.quantile(list, 0.5))
    assert.equal(198, figures.quantile(list, 0.99))
    assert.equal(7, figures.quantile({ 7 }, 0.99))
    assert.is_nil(figures.quantile({}, 0.5))
  end)
end)

-- ---- delays ----

-- A file of packets: { microseconds, from, to, payload }.
local function pcap(list, is_tcp)
  local parts = { "\xd4\xc3\xb2\xa1" .. ("\0"):rep(20) }
  for _, packet in ipairs(list) do
    local at, from, to, text = table.unpack(packet)
    local above = string.pack(">I2I2", from, to)
      .. (is_tcp and ("\0"):rep(8) .. "\x50\x18" .. ("\0"):rep(6) or ("\0"):rep(4))
    local ip = string.pack(">BBI2I4BBI2I4I4", 0x45, 0, 20 + #above + #text, 0, 64,
      is_tcp and 6 or 17, 0, 0x7f000001, 0x7f000001)
    local bytes = ("\0"):rep(14) .. ip .. above .. text
    parts[#parts + 1] = string.pack("<I4I4I4I4", at // 1000000, at % 1000000, #bytes, #bytes)
      .. bytes
  end
  local name = os.tmpname()
  local file = assert(io.open(name, "wb"))
  file:write(table.concat(parts))
  file:close()
  return name
end

local function message(first, cseq, more)
  return first .. "\r\n" .. (more or "") .. "Call-ID: 1@x\r\nCSeq: " .. cseq
    .. "\r\nContent-Length: 3\r\n\r\nabc"
end

describe("delays in a proxy", function()
  local file

  local function delays(list, is_tcp)
    file = pcap(list, is_tcp)
    return capture.delays({ file = file, proxy = 5060, servers = { [5081] = true } }, "INVITE")
  end

  after_each(function()
    os.remove(file)
  end)

  local invite = message("INVITE sip:b@x SIP/2.0", "1 INVITE")
  local forwarded = message("INVITE sip:b@x SIP/2.0", "1 INVITE", "Via: more\r\n")
  local answer = message("SIP/2.0 200 OK", "1 INVITE")

  it("are from a message's arrival to its departure", function()
    local routed, all = delays {
      { 5000000, 5099, 5060, invite },
      { 5000040, 5060, 5099, message("SIP/2.0 100 Trying", "1 INVITE") }, -- our own
      { 5000120, 5060, 5081, forwarded },
      { 5999990, 5081, 5060, answer },
      { 6000020, 5060, 5099, answer },
    }
    assert.equal(1, #routed)
    assert.near(120, routed[1], 0.5)
    assert.equal(2, #all)
    assert.near(30, all[1], 0.5)
  end)

  it("count once for a message that is repeated", function()
    local _, all, wire = delays {
      { 1000000, 5099, 5060, invite },
      { 1000100, 5060, 5081, forwarded },
      { 1500000, 5099, 5060, invite },
      { 1500001, 5060, 5081, forwarded },
    }
    assert.same({ packets = 4, bytes = 2 * (#invite + #forwarded) + 4 * (38 + 28) }, wire)
    assert.equal(1, #all)
    assert.near(100, all[1], 0.5)
  end)

  it("are those of messages, not of what left together", function()
    local other = answer:gsub("1@x", "2@x")
    local _, all, wire = delays {
      { 1000000, 5081, 5060, answer },
      { 1000010, 5081, 5060, other },
      { 1000110, 5060, 5099, answer .. other },
    }
    assert.equal(2, #all)
    assert.near(100, all[1], 0.5)
    assert.near(110, all[2], 0.5)
    assert.same({ packets = 4, bytes = 4 * (#answer + 38 + 28) }, wire)
  end)

  it("are those of requests that left together, too", function()
    local other = forwarded:gsub("1@x", "2@x")
    local _, all = delays {
      { 1000000, 5099, 5060, invite },
      { 1000010, 5099, 5060, (invite:gsub("1@x", "2@x")) },
      { 1000110, 5060, 5081, forwarded .. other },
    }
    assert.equal(2, #all)
    assert.near(110, all[2], 0.5)
  end)

  it("are those of messages, not of segments, over TCP", function()
    local _, all = delays({
      { 1000000, 5099, 5060, invite:sub(1, 20) },
      { 1000010, 5099, 5060, invite:sub(21) .. message("ACK sip:b@x SIP/2.0", "1 ACK") },
      { 1000110, 40000, 5081, forwarded .. message("ACK sip:b@x SIP/2.0", "1 ACK") },
    }, true)
    assert.equal(2, #all)
    assert.near(100, all[2], 0.5)
  end)
end)

-- ---- instructions ----

describe("instructions", function()
  it("are added up by where they are written, without those of callees", function()
    local name = os.tmpname()
    local out = assert(io.open(name, "w"))
    out:write [[
events: Ir

ob=(1) /x/build/tandem
fl=(1) src/proxy/route.c
fn=(1) route
10 5
fi=(2) src/util/str.h
+3 7
fe=(1)
* 1
cob=(2) /usr/lib/libc.so.6
cfi=(3) ./malloc/malloc.c
cfn=(2) malloc
calls=3 20
11 1000

ob=(2)
fl=(3)
fn=(2)
20 30

totals: 43
]]
    out:close()
    local layers, files, allocations = callgrind.by_layer(name)
    os.remove(name)
    assert.equal(3, allocations)
    assert.same({ proxy = 6, util = 7, libc = 30 }, layers)
    assert.equal(6, files["src/proxy/route.c"])
  end)
end)

-- ---- what is compared ----

describe("the report", function()
  it("begins with what Tandem takes of what others take", function()
    local results = {
      order = { "udp" }, settings = { runs = 5, seconds_per_run = 10 }, machine = {},
      sections = { udp = {
        { peer = "tandem", at = "max", rate = 3000, cpu_us = 60, failed = 0, again = 0 },
        { peer = "kamailio", at = "max", rate = 2000, cpu_us = 120, failed = 1, again = 0 },
        { peer = "relay", at = "max", rate = 9000, cpu_us = 20, failed = 0, again = 0 },
      } },
    }
    results.ratios = report.ratios(results)
    assert.same({ section = "udp", at = "max", kamailio = 0.5, relay = 3, kamailio_rate = 1.5,
      relay_rate = 3000 / 9000 }, results.ratios[1])
    local lines = report.lines(results)
    assert.matches("^  udp +max +0.50 +3.00 +1.50$", lines[3])
  end)

  it("has the same tables for the documentation", function()
    local results = {
      order = { "growth" }, settings = { runs = 5, seconds_per_run = 10 }, ratios = {},
      machine = { cpu = "a processor", date = "today" },
      sections = { growth = { { peer = "tandem", n = 7, rate = 3, bytes = 2 ^ 20, more = 0.005,
        failed = 0, again = 1 } } },
    }
    local lines = report.markdown(results)
    assert.matches("^a processor, .*; today%.$", lines[1])
    assert.same({ "**growth: memory when calls are over**", "",
      "| peer | calls | per second | MB | more, % | failed | again |",
      "|---|---:|---:|---:|---:|---:|---:|",
      "| tandem | 7 | 3 | 1.00 | 0.50 | 0 | 1 |" }, { table.unpack(lines, 3) })
  end)
end)

describe("a page", function()
  it("has what a program writes between its marks, and nothing else of it changes", function()
    local page = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n"
    local new = "a\n<!-- x -->\n\none\ntwo\n\n<!-- end of x -->\nb\n"
    assert.equal(new, marked.replace(page, "x", { "one", "two" }))
    assert.equal(new, marked.replace(new, "x", { "one", "two" }))
    assert.has_error(function() marked.replace(page, "y", {}) end, "the page has no part y")
  end)

  it("has instructions by layer, the smallest together", function()
    local call = { all = 1000, allocations = 3.04, system_calls = { all = 12 },
      layers = { util = 300, message = 693, dns = 5, hep = 2 } }
    local lines = counted.markdown { calls = { udp = call, register = call },
      operations = { { name = "an edit", instructions = 7 } } }
    assert.same({
      "Of an INVITE-to-BYE call: 1000 instructions, 3.0 allocations, 12.0 system calls. "
        .. "Of a REGISTER: 1000, 3.0, 12.0.", "",
      "| layer | instructions per call | |", "|---|---:|---:|", "| `message` | 693 | 69 % |",
      "| `util` | 300 | 30 % |", "| the rest | 7 | 1 % |", "",
      "| operation | instructions |", "|---|---:|", "| an edit | 7 |" }, lines)
  end)
end)

describe("the plan", function()
  local results = { sections = {
    udp = { { peer = "tandem", rate = 2000, cpu_us = 64, wire_bytes = 5000, wire_packets = 13 },
      { peer = "relay", rate = 2000, cpu_us = 24 } },
    workers = { { workers = 1, callers = 1, cpu_us = 64, handed = 0, bytes = 10 * 2 ^ 20 },
      { workers = 2, callers = 1, cpu_us = 70, handed = 3, bytes = 12 * 2 ^ 20 },
      { workers = 4, callers = 1, cpu_us = 75, handed = 4.5, bytes = 16 * 2 ^ 20 } },
    memory = { { peer = "tandem", what = "held call", each = 700 },
      { peer = "tandem", what = "absorbing transaction", each = 1000 } },
    sustained = { { log_bytes = 200 } },
  } }

  it("is arithmetic from what was measured", function()
    local p = plan.parts(results)
    local f = plan.follows(p)
    assert.equal(500000, f.wire)
    assert.equal(1000000, f.cores)
    assert.equal(500000 * 13, f.packets)
    assert.equal(2, p.hand_over)
    assert.near(1e6 / 12, f.one_peer, 1e-6) -- 3 requests of 2 us and 2 us
    assert.near(63e9, f.held, 1)
    assert.near(32e9, f.records, 1)
    assert.equal(64 * 2 * 2 ^ 20, f.workers)
    assert.equal(100e6, f.log)
    assert.equal(10, #plan.markdown(results))
  end)

  it("is none without all of it", function()
    results.sections.memory = nil
    assert.is_nil(plan.markdown(results))
  end)
end)

describe("the time that all of it takes", function()
  local o = { peers = { "tandem", "kamailio", "relay" }, runs = 5, delay_runs = 1, seconds = 4,
    highest = { steps = 3 }, sustained = { seconds = 60 } }

  it("is that of the runs", function()
    assert.near(63, sections.seconds({ "sustained" }, o), 5)
    -- three peers at three rates with 6 runs, and at the edge with 5 runs and 6 tries
    local run = (sections.seconds({ "udp" }, o)) / (3 * (3 * 6 + 5 + 6))
    assert.is_true(run > 4 and run < 10, run)
  end)

  it("is that of the rates that are asked for", function()
    o.rates = { 500 }
    local n = sections.seconds({ "udp" }, o)
    assert.near(2 * n, sections.seconds({ "udp", "register" }, o), 0.01)
    o.peers = { "tandem" }
    assert.near(n / 3, sections.seconds({ "udp" }, o), 0.01)
  end)
end)

-- ---- the baseline ----

describe("the comparison with a baseline", function()
  local function results(runs, other)
    return { sections = { udp = {
      { peer = "tandem", at = 2000, runs = runs, failed = 0 },
      { peer = "kamailio", at = 2000, runs = other or { 100, 100, 100 }, failed = 3 },
    } } }
  end
  local ratio = "udp 2000 processor time / kamailio"

  it("is of ratios, each of runs that followed each other", function()
    local list = compare.figures(results({ 40, 80, 60 }, { 80, 160, 100 }))
    assert.near(0.5, list[ratio].value, 1e-9)
    assert.near(0.05, list[ratio].spread, 1e-9)
    assert.equal(0, list["udp 2000 failed"].value)
  end)

  it("says that it is worse when that is more than the noise of both", function()
    local before = compare.figures(results { 50, 52, 48 })
    local same = compare.figures(results { 53, 55, 51 })
    local worse = compare.figures(results { 56, 58, 54 })
    local better = compare.figures(results { 45, 45, 45 })
    assert.equal("", compare.verdict(same[ratio], before[ratio]))
    assert.equal("worse", compare.verdict(worse[ratio], before[ratio]))
    assert.equal("better", compare.verdict(better[ratio], before[ratio]))
  end)

  it("lets 2 % pass where nothing is known of the noise", function()
    local before = { value = 1000, spread = 0 }
    assert.equal("", compare.verdict({ value = 1019, spread = 0 }, before))
    assert.equal("worse", compare.verdict({ value = 1021, spread = 0 }, before))
    assert.equal("worse", compare.verdict({ value = 1, spread = 0 }, { value = 0, spread = 0 }))
    assert.equal("", compare.verdict({ value = 1049, spread = 0, least = 0.05 }, before))
    assert.equal("worse", compare.verdict({ value = 1051, spread = 0, least = 0.05 }, before))
  end)

  it("ends with one line that says so, and names it", function()
    local before = { a = { value = 1, spread = 0 }, b = { value = 1, spread = 0 } }
    local lines = compare.lines({ a = { value = 2, spread = 0 }, b = { value = 1, spread = 0 } },
      before)
    assert.equal("WORSE than the baseline by more than the noise: 1 of 2 figures: a",
      lines[#lines])
    assert.matches("^  a +1.00 +2.00 +%+100.0 %%  WORSE$", lines[2])
    lines = compare.lines({ a = before.a, c = before.a }, before)
    assert.equal("none of 1 figures is worse than the baseline's (2 are in one of them only)",
      lines[#lines])
    assert.same({ "nothing of this run is in the baseline" }, compare.lines({}, before))
  end)

  it("has figures of every kind of section", function()
    local list = compare.figures { sections = {
      memory = { { peer = "tandem", what = "held call", each = 700 },
        { peer = "kamailio", what = "held call", each = 9000 } },
      sustained = { { failed = 2 } },
      growth = { { bytes = 2 ^ 20 }, { bytes = 3 * 2 ^ 20 } },
      workers = { { workers = 1, callers = 1, runs = { 10, 10 } },
        { workers = 2, callers = 1, runs = { 12, 12 } } },
      syscalls = { { peer = "tandem", rate = 50, all = 26, allocations = 33 },
        { peer = "tandem", rate = 2000, all = 4, allocations = 33 },
        { peer = "relay", rate = 50, all = 12 } },
      ringing = { { p99 = 3 } },
    } }
    local values = {}
    for name, figure in pairs(list) do
      values[name] = figure.value
    end
    assert.same({
      ["bytes per held call"] = 700, ["sustained failed"] = 2, ["growth megabytes"] = 3,
      ["2 workers, callers at 1 addresses: processor time / 1 worker"] = 1.2,
      ["system calls per call at 50/s"] = 26, ["allocations per call at 50/s"] = 33,
    }, values)
  end)

  it("is with what was written, of which other figures stay", function()
    local name = os.tmpname()
    os.remove(name)
    assert.matches("^there is no baseline", baseline.lines({}, name)[1])
    baseline.write({ a = { value = 1, spread = 0.25 } }, { cpu = "one" }, name)
    baseline.write({ b = { value = 20000, spread = 0 } }, { cpu = "two" }, name)
    local lines = baseline.lines({ a = { value = 1.5, spread = 0 }, b = { value = 20000,
      spread = 0 } }, name)
    os.remove(name)
    assert.matches("two", lines[1])
    assert.matches("^WORSE .* 1 of 2 figures: a$", lines[#lines])
  end)
end)

-- ---- what is asked while calls ring, and what is counted ----

describe("answers while calls ring", function()
  it("are sorted into what the calls did when it was asked", function()
    local list = ringing.answers "s 1 9.0\nr 1 9.25\ns 2 10.5\ns 3 11.5\nr 3 11.5\nr 3 11.9\n"
    assert.equal(3, #list)
    local phases = ringing.phases(list, 10, { { "none", -5 }, { "come", 0 }, { "ring", 1 } }, 2)
    assert.equal("none", phases[1].phase)
    assert.near(250, phases[1].longest, 0.001)
    assert.same({ phase = "come", n = 0, lost = 1 }, phases[2])
    assert.near(0, phases[3].p99, 0.001)
    assert.same({ "all", 1, 1 }, { phases[4].phase, phases[4].n, phases[4].lost })
  end)
end)

describe("metrics", function()
  it("are read, and the histograms of two readings", function()
    local before = metrics.parse { "# HELP x y", 'x_bucket{le="0.005"} 1',
      'x_bucket{le="0.01"} 1', 'x_bucket{le="+Inf"} 1', "x_sum 0.001", "x_count 1" }
    local after = metrics.parse { 'x_bucket{le="0.005"} 91', 'x_bucket{le="0.01"} 100',
      'x_bucket{le="+Inf"} 101', "x_sum 0.201", "x_count 101", 'y{worker="0"} 3',
      'y{worker="1"} 4' }
    local h = metrics.histogram(before, after, "x")
    assert.equal(100, h.n)
    assert.near(0.2, h.sum, 1e-9)
    assert.equal(0.005, metrics.below(h, 0.9))
    assert.equal(0.01, metrics.below(h, 0.99))
    assert.equal(math.huge, metrics.below(h, 1))
    assert.equal(7, metrics.sum(after, "y"))
    assert.equal(4, metrics.sum(after, "y", 'worker="1"'))
  end)
end)

describe("system calls", function()
  it("are per call, by what they are for, without allocations", function()
    local function counts(recvmmsg, sendto, epoll_wait, write, allocations)
      return syscalls.decode(string.pack("<" .. ("I8"):rep(15), 0, 0, 0, recvmmsg, 0, sendto, 0,
        0, epoll_wait, 0, 1, 0, write, 0, allocations))
    end
    local r = syscalls.per_call(counts(10, 0, 10, 0, 100), counts(30, 40, 20, 10, 400), 10)
    assert.same({ 7 + 1, 2, 4, 1, 30 }, { r.all, r.receive, r.send, r.by_name.write,
      r.allocations })
    assert.equal(0, r.others)
  end)
end)

describe("the peers", function()
  it("are told about the same servers", function()
    assert.is_true(peers.exists "tandem" and peers.exists "kamailio" and peers.exists "relay")
    assert.is_false(peers.exists "another")
    local ports = { proxy = 1, servers = { 2, 3 }, caller = 4 }
    assert.same({ { name = "a", host = "127.0.0.1", port = 2 },
      { name = "b", host = "127.0.0.1", port = 3 } },
      workload.servers(workload.get "udp", ports))
    local many = workload.servers(workload.get "pool", ports)
    assert.equal(200, #many)
    assert.same({ name = "s200", host = "127.0.1.200", port = 2 }, many[200])
  end)

  it("are called from one address, or from many in turn", function()
    local udp, text = workload.get "udp", "Via: [local_ip]:[local_port] %{ring}"
    assert.equal("Via: 127.0.0.1:[local_port] 7",
      workload.scenario(udp, text, "caller", { ring = 7 }))
    assert.equal("Via: [field0]:4 0",
      workload.scenario(udp, text, "caller", { callers = 2, ports = { caller = 4 } }))
    assert.equal("SEQUENTIAL\n127.0.2.1;\n127.0.2.2;\n", workload.addresses(2))
    assert.matches("\n127.0.3.1;\n$", workload.addresses(251))
  end)
end)
