-- The arithmetic of `make bench`: what its figures are made of.
local callgrind = require "bench.callgrind"
local capture = require "bench.capture"
local figures = require "bench.figures"
local peers = require "bench.peers"
local report = require "bench.report"
local search = require "bench.search"
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
    local _, all = delays {
      { 1000000, 5099, 5060, invite },
      { 1000100, 5060, 5081, forwarded },
      { 1500000, 5099, 5060, invite },
      { 1500001, 5060, 5081, forwarded },
    }
    assert.equal(1, #all)
    assert.near(100, all[1], 0.5)
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
        { peer = "tandem", at = "max", rate = 3000, cpu_us = 60, failed = 0, repeated = 0 },
        { peer = "kamailio", at = "max", rate = 2000, cpu_us = 120, failed = 1, repeated = 0 },
        { peer = "relay", at = "max", rate = 9000, cpu_us = 20, failed = 0, repeated = 0 },
      } },
    }
    results.ratios = report.ratios(results)
    assert.same({ section = "udp", at = "max", kamailio = 0.5, relay = 3, kamailio_rate = 1.5,
      relay_rate = 3000 / 9000 }, results.ratios[1])
    local lines = report.lines(results)
    assert.matches("^  udp +max +0.50 +3.00 +1.50$", lines[3])
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
end)
