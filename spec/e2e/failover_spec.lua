-- The failover loop of examples/failover.lua between real callers and servers. No
-- checks here: the call itself has to find out.
local netns = require "support.netns"
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

-- Seconds: no timer was involved, whatever else the machine does.
local at_once = 0.4

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

-- Calls that the proxy finds all at once: each fails at the primary for this cause, in less
-- than so many seconds, and is answered by the backup.
local function together(tandem, cause, seconds, options)
  options.rate, options.values = 1000, { hold = 0 }
  tandem:signal "STOP"
  local callers = sipp.start("call", options)
  process.sleep(0.2)
  tandem:signal "CONT"
  callers:succeed()
  process.eventually(10, function()
    return #tandem:logged("request", { method = "INVITE" }) >= options.calls
  end)
  for _, request in ipairs(tandem:logged("request", { method = "INVITE" })) do
    local taken = tonumber(request.tried:match("^pbx/a:" .. cause .. ":([%d.]+),pbx/b:200"))
    assert(taken and taken < seconds, request.tried)
  end
end

describe("failover of a call", function()
  local address, port, a, b, tandem

  before_each(function()
    port, a, b = process.ports(3)
    address = "127.0.0.1:" .. port
    tandem = proxy.start { source = proxy.example("failover", {
      ["127.0.0.1:5060"] = address,
      ["127.0.0.1:5081"] = "127.0.0.1:" .. a,
      ["127.0.0.1:5082"] = "127.0.0.1:" .. b,
      ["{ interval = 2, timeout = 1, fall = 3, rise = 2 }"] = "false, passive = false",
    }) }
  end)
  after_each(process.clean)

  local function start(scenario, name, at, values)
    return sipp.server(scenario, { name = name, port = at, values = values })
  end

  local function call(scenario, values, options)
    options = options or {}
    options.proxy, options.values = address, values
    return sipp.call(scenario, options)
  end

  -- Median of the seconds to the 180 in `n` calls, one after the other.
  local function ring_time(n, name)
    local calls = call("call", { hold = 0 }, {
      name = name, calls = n, rate = 50, args = { "-l", "1" },
    })
    local times = calls:delays("INVITE", "180 INVITE")
    assert.equal(n, #times)
    return median(times), times[1], times[n]
  end

  it("takes no time when the primary's port is closed", function()
    start("answer", "b", b, { ring = 0 })
    local first = call("call", { hold = 0 }, { name = "first" })
    local first_ms = first:between("INVITE", "200 INVITE") * 1000
    local over, least, most = ring_time(21, "over")
    start("answer", "a", a, { ring = 0 })
    local direct = ring_time(21, "direct")
    local added_ms = (over - direct) * 1000
    io.write(("\nclosed port: the first call was answered in %.1f ms; 21 rang after %.1f to "
      .. "%.1f ms, %.2f ms later than without failover (median)\n")
      :format(first_ms, least * 1000, most * 1000, added_ms))
    assert(first_ms < at_once * 1000, first_ms)
    assert(added_ms < 20, added_ms)
  end)

  it("takes the script's two seconds when the primary is silent", function()
    local silent = start("silent", "a", a)
    local backup = start("answer", "b", b, { ring = 0 })
    local taken = call("call", { hold = 0 }):between("INVITE", "200 INVITE")
    io.write(("\nsilent primary: answered in %.3f s\n"):format(taken))
    assert(taken > 1.9 and taken < 2.4, taken)
    assert(silent:count "INVITE" >= 3, "T1 has its retransmissions")
    assert.equal(1, backup:count "INVITE")
  end)

  it("ends with 500 after four seconds when both are silent", function()
    start("silent", "a", a)
    start("silent", "b", b)
    local taken = call("refused", { code = 500 }):between("INVITE", "500 INVITE")
    assert(taken > 3.9 and taken < 4.4, taken)
  end)

  it("goes on from a 503 at once, and avoids that server for its Retry-After", function()
    local primary = start("refuse", "a", a, {
      status = "503 Service Unavailable", header = "Retry-After: 2",
    })
    local backup = start("answer", "b", b, { ring = 0 })
    local taken = call("call", { hold = 0 }, { name = "first" }):between("INVITE", "200 INVITE")
    assert(taken < at_once, taken)
    call("call", { hold = 0 }, { name = "second" })
    assert.equal(1, primary:count "INVITE")
    assert.equal(2, backup:count "INVITE")
    process.sleep(2.2)
    call("call", { hold = 0 }, { name = "third" })
    assert.equal(2, primary:count "INVITE")
    assert.equal(3, backup:count "INVITE")
  end)

  it("passes a 486 on, tries no one else, and thinks no worse of the server", function()
    local primary = start("refuse", "a", a, { status = "486 Busy Here", header = "X-Busy: yes" })
    local backup = start("answer", "b", b, { ring = 0 })
    for i = 1, 4 do
      local refused = call("refused", { code = 486 }, { name = "call" .. i })
      assert.equal("yes", refused:message("486 INVITE"):header "X%-Busy")
    end
    assert.equal(4, primary:count "INVITE")
    assert.equal(0, backup:count "INVITE")
    -- no change after the line that each has at the start
    assert.equal(2, #tandem:logged "server.health")
    assert.equal(2, #tandem:logged("server.health", { from = "none" }))
  end)

  it("ends when the caller hangs up before any server has answered", function()
    local silent = start("silent", "a", a)
    local backup = start("answer", "b", b, { ring = 0 })
    local caller = call("cancel_trying", { after = 800 })
    local taken = caller:between("CANCEL", "487 INVITE")
    assert(taken < at_once, taken)
    process.sleep(1.6)
    assert.equal(0, backup:count "INVITE")
    assert.equal(0, silent:count "CANCEL", "no CANCEL before a provisional: RFC 3261 9.1")
  end)

  it("cancels the backup when the caller hangs up while that rings", function()
    local backup = sipp.server("ring", { name = "b", port = b, calls = 1 })
    call("cancel_ringing", { after = 100 })
    backup:succeed()
    assert.same({ "INVITE", "CANCEL", "ACK" }, backup:got())
  end)
end)

describe("a closed port", function()
  after_each(process.clean)

  local listeners = { ["0.0.0.0"] = "127.0.0.1", ["[::]"] = "[::1]", ["[::1]"] = "[::1]" }
  for listen, host in pairs(listeners) do
    it("is noticed at once by a listener on " .. listen, function()
      local port, a, b = process.ports(3)
      local tandem = proxy.start { source = proxy.example("failover", {
        ["127.0.0.1:5060"] = listen .. ":" .. port,
        ["127.0.0.1:5081"] = host .. ":" .. a,
        ["127.0.0.1:5082"] = host .. ":" .. b,
        ["{ interval = 2, timeout = 1, fall = 3, rise = 2 }"] = "false",
      }) }
      local bare = host:gsub("[%[%]]", "")
      sipp.server("answer", { host = bare, name = "b", port = b, values = { ring = 0 } })
      local caller = sipp.call("call", {
        host = bare, proxy = host .. ":" .. port, values = { hold = 0 },
      })
      local taken = caller:between("INVITE", "200 INVITE")
      assert(taken < at_once, taken)
      local tried = tandem:wait_logged("request", { method = "INVITE" }).tried
      assert.truthy(tried:find("^pbx/a:icmp_port:"), tried)
    end)

    -- Their INVITEs leave together, and the kernel refuses them as one.
    for _, workers in ipairs { 1, 4 } do
      it(("is noticed by each of many at a time, from %s, %d workers"):format(listen, workers),
        function()
          local port, a, b = process.ports(3)
          local tandem = proxy.start { workers = workers, source = proxy.example("failover", {
            ["127.0.0.1:5060"] = listen .. ":" .. port,
            ["127.0.0.1:5081"] = host .. ":" .. a,
            ["127.0.0.1:5082"] = host .. ":" .. b,
            ["{ interval = 2, timeout = 1, fall = 3, rise = 2 }"] = "false, passive = false",
          }) }
          local bare, calls = host:gsub("[%[%]]", ""), 60
          sipp.server("answer", { host = bare, name = "b", port = b, values = { ring = 0 } })
          together(tandem, "icmp_port", at_once,
            { host = bare, proxy = host .. ":" .. port, calls = calls })
        end)
    end
  end
end)

describe("an answer that comes late", function()
  local address, a, b, tandem

  before_each(function()
    local port
    port, a, b = process.ports(3)
    address = "127.0.0.1:" .. port
    tandem = proxy.start { source = proxy.example("failover", {
      ["127.0.0.1:5060"] = address,
      ["127.0.0.1:5081"] = "127.0.0.1:" .. a,
      ["127.0.0.1:5082"] = "127.0.0.1:" .. b,
      ["{ interval = 2, timeout = 1, fall = 3, rise = 2 }"] = "false",
    }) }
  end)
  after_each(process.clean)

  it("from a server that was given up is the answer, and the backup is cancelled", function()
    local late = sipp.server("late", {
      name = "a", port = a, calls = 1, values = { silence = 2800 },
    })
    local backup = sipp.server("ring", { name = "b", port = b, calls = 1 })
    local caller = sipp.call("call", { proxy = address, values = { hold = 300 } })
    late:succeed()
    backup:succeed()

    assert.truthy(caller:message("180 INVITE"):header "Contact":find("sip:b@", 1, true))
    local answer = caller:message "200 INVITE"
    assert.truthy(answer:header "Contact":find("sip:a@", 1, true))
    assert.equal(1, caller:count "200 INVITE")
    assert.same({ "INVITE", "CANCEL", "ACK" }, backup:got())
    assert.equal(answer:header "To", late:message "ACK":header "To")
    assert.equal(answer:header "To", late:message "BYE":header "To")
    local request = tandem:wait_logged("request", { method = "INVITE" })
    assert.equal(200, request.code)
  end)

  it("after our own 500 is acknowledged and ended, and the caller hears nothing of it", function()
    sipp.server("silent", { name = "a", port = a })
    local late = sipp.server("late", {
      name = "b", port = b, calls = 1, values = { silence = 2500 },
    })
    local caller = sipp.call("refused", { proxy = address, values = { code = 500 } })
    late:succeed()
    assert.equal("ACK", late:message("ACK").key)
    assert.equal("BYE", late:message("BYE").key)
    assert.equal(0, caller:count "200 INVITE")
  end)
end)

-- Nobody has the primary's address: the kernel asks for three seconds who it is, and then
-- says once that of all that left together nothing has left.
describe("an address that nobody has", function()
  after_each(process.clean)

  for _, workers in ipairs { 1, 4 } do
    it(("is noticed by all that wait when the kernel says so, %d workers"):format(workers),
      function()
        local net, why = netns.open()
        if not net then
          return pending(why)
        end
        net:ip "link add eth0 type veth peer name wire"
        net:ip "addr add 10.9.0.1/24 dev eth0"
        net:ip "addr add 10.9.0.2/24 dev eth0"
        net:ip "link set eth0 up"
        net:ip "link set wire up"
        local calls = 20
        local tandem = proxy.start { inside = net, workers = workers,
          source = proxy.example("failover", {
            ["127.0.0.1:5060"] = "10.9.0.1:5060",
            ["127.0.0.1:5081"] = "10.9.0.99:5060",
            ["127.0.0.1:5082"] = "10.9.0.2:5082",
            ["{ interval = 2, timeout = 1, fall = 3, rise = 2 }"] = "false, passive = false",
            ["timeout = 2 }"] = "timeout = 10 }",
          }) }
        sipp.server("answer", { inside = net, host = "10.9.0.2", name = "b", port = 5082,
          values = { ring = 0 } })
        together(tandem, "icmp_host", 5,
          { inside = net, host = "10.9.0.1", proxy = "10.9.0.1:5060", calls = calls })
      end)
  end
end)
