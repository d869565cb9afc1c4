-- A thousand connections that send a byte now and then, and a thousand that send
-- nothing, while calls go on over UDP: none fails, all are closed at their deadline, and
-- what they took is given back.
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local build = os.getenv "BUILD" or "build/san"
local clients = 1000
local deadline = 8 -- seconds
local calls, rate = 150, 15
local margin_kb = 4096

local source = [[
local sip = require "tandem"
sip.settings { tcp = { header_timeout = %{deadline}, per_source = 5000 }, timers = { t1 = 0.1 } }
sip.listen { "udp:127.0.0.1:%{port}", "tcp:127.0.0.1:%{port}" }
local pbx = sip.pool("pbx", { check = false, servers = {
  { name = "a", uri = "sip:127.0.0.1:%{a}" },
} })
sip.route(function(req)
  if not req:relay(pbx) then return req:reply(500) end
end)
]]

describe("slow clients", function()
  after_each(process.clean)

  local function crowd(name, port, seconds)
    local self = process.start { name = name,
      argv = { build .. "/slow_clients", port, clients, seconds } }
    assert(process.eventually(10, function()
      return self:output():find "open"
    end), self:output())
    return self
  end

  -- Kilobytes of a process.
  local function resident(tandem)
    return tonumber(process.read("/proc/" .. tandem:pid() .. "/status"):match "VmRSS:%s*(%d+)")
  end

  -- All were closed, at their deadline and not before.
  local function assert_closed(self)
    assert.equal(0, self:wait())
    local n, first, last = self:output():match "closed (%d+) after ([%d.]+) to ([%d.]+) s"
    io.write(("\n%s: %s"):format(self.name, self:output():match "closed[^\n]*"))
    assert.equal(clients, tonumber(n))
    assert(tonumber(first) > deadline - 0.5, first)
    assert(tonumber(last) < deadline + 3, last)
  end

  it("cost nobody anything", function()
    local port, a = process.ports(2)
    local tandem = proxy.start { source = source, binary = "build/tandem", level = "info",
      values = { deadline = deadline, port = port, a = a } }
    sipp.server("answer", { name = "a", port = a, quiet = true, values = { ring = 0 } })
    local before, before_kb = tandem:stats(), resident(tandem)

    local silent, slow = crowd("silent", port, 0), crowd("slow", port, 5)
    -- They are connected when the kernel says so, and accepted a moment later.
    process.eventually(5, function()
      return tandem:stats().flows == 2 * clients
    end)
    assert.equal(2 * clients, tandem:stats().flows)
    local during_kb = resident(tandem)
    local load = sipp.start("call", { proxy = "127.0.0.1:" .. port, calls = calls, rate = rate,
      quiet = true, limit = 40, values = { hold = 100 } })
    load:succeed()
    local s = load:statistics()
    io.write(("\n%s calls, %s failed, %s retransmissions; %d kB before, %d with %d connections")
      :format(s["SuccessfulCall(C)"], s["FailedCall(C)"], s["Retransmissions(C)"], before_kb,
        during_kb, 2 * clients))
    assert.equal(calls, tonumber(s["SuccessfulCall(C)"]))
    assert.equal(0, tonumber(s["FailedCall(C)"]))
    assert_closed(silent)
    assert_closed(slow)

    local after = nil
    process.eventually(64 * 0.1 + 5, function()
      process.sleep(0.5)
      after = tandem:stats()
      return after.bytes <= before.bytes
    end)
    local after_kb = resident(tandem)
    io.write((", %d after; bytes of the core: %d before, %d after\n")
      :format(after_kb, before.bytes, after.bytes))
    assert.equal(before.bytes, after.bytes)
    assert.equal(0, after.flows)
    -- What the calls touched for the first time, and what the allocator keeps.
    assert(after_kb - before_kb < margin_kb, after_kb)
  end)
end)
