-- Ten thousand calls through the program that users run. T1 is short so that what
-- is remembered for 64*T1 is gone soon.
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local t1 = 0.1
local calls, rate = 10000, 500

describe("load", function()
  local address, a, b

  before_each(function()
    local port
    port, a, b = process.ports(3)
    address = "127.0.0.1:" .. port
  end)
  after_each(process.clean)

  it(("of %d calls, %d per second: none fails, nothing stays"):format(calls, rate), function()
    local source = proxy.example("failover", {
      ["127.0.0.1:5060"] = address,
      ["127.0.0.1:5081"] = "127.0.0.1:" .. a,
      ["127.0.0.1:5082"] = "127.0.0.1:" .. b,
      ["{ interval = 2, timeout = 1, fall = 3, rise = 2 }"] = "false",
    }) .. ("\nsip.settings { timers = { t1 = %g } }\n"):format(t1)
    local tandem = proxy.start {
      source = source, binary = "build/tandem", level = "info", limit = 90,
    }
    for name, port in pairs { a = a, b = b } do
      sipp.server("answer", {
        name = name, port = port, quiet = true, limit = 80, values = { ring = 0 },
      })
    end
    local before = tandem:stats()

    local load = sipp.start("call", {
      proxy = address, calls = calls, rate = rate, quiet = true, limit = 60,
      values = { hold = 100 }, args = { "-l", "5000" },
    })
    load:succeed()
    local s = load:statistics()
    io.write(("\n%s calls, %s failed, %s retransmissions\n")
      :format(s["SuccessfulCall(C)"], s["FailedCall(C)"], s["Retransmissions(C)"]))
    assert.equal(calls, tonumber(s["SuccessfulCall(C)"]))
    assert.equal(0, tonumber(s["FailedCall(C)"]))

    local after = nil
    process.eventually(64 * t1 + 5, function()
      process.sleep(0.5)
      after = tandem:stats()
      return after.requests == 0 and after.servers == 0 and after.clients == 0
        and after.bytes <= before.bytes
    end)
    io.write(("bytes: %d before, %d after\n"):format(before.bytes, after.bytes))
    for _, name in ipairs { "requests", "servers", "clients", "timers", "bytes" } do
      assert.equal(before[name], after[name], name)
    end
  end)
end)
