-- A primary that dies under load: 100 calls per second of 10 s each. What every call
-- came to is counted at both ends, by what sipp wrote down about it.
local diary = require "support.diary"
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"

local rate, hold, ring = 100, 10000, 300 -- calls per second, ms

local script = [[
local sip = require "tandem"
sip.listen { "udp:%{address}" }
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:127.0.0.1:%{a}", tier = 1 },
    { name = "b", uri = "sip:127.0.0.1:%{b}", tier = 2 },
  },
  check = { interval = 1, timeout = 0.5, fall = 2, rise = 2 },
  failback = { hold = 3 }, passive = { hold = 1 },
  attempt = { ring_timeout = 3 },
  %{options}
})
sip.route(function(req) return req:relay(pbx) end)
sip.every(0.5, function()
  local left = 0
  for _, server in ipairs(pbx.servers) do
    left = left + server.inflight + server.calls
  end
  sip.log.info("left", { left = left, active = pbx.active_tier or 0 })
end)
]]

describe("a primary that is killed under load", function()
  local port, a, b, tandem, primary, backup

  local function server(name, at)
    return sipp.server("kill_server", {
      name = name, port = at, quiet = true, limit = 100, values = { ring = ring },
      args = diary.args(name),
    })
  end

  local function load(calls)
    return sipp.start("kill_call", {
      name = "callers", proxy = "127.0.0.1:" .. port, calls = calls, rate = rate,
      quiet = true, limit = 90, values = { hold = hold },
      args = diary.args("callers", "-l", "5000"),
    })
  end

  local function start(options)
    port, a, b = process.ports(3)
    primary, backup = server("a", a), server("b", b)
    tandem = proxy.start {
      binary = "build/tandem", level = "info", limit = 100, source = script,
      values = { address = "127.0.0.1:" .. port, a = a, b = b, options = options },
    }
    tandem:wait_logged("server.health", { server = "a", to = "up" })
  end

  -- Every call was answered, or it rang at the dead server and its caller was told.
  -- Gives what the callers and the dead server wrote, the calls that this had up and
  -- those that rang there.
  local function accounts(callers)
    local told, dead, up, ringing = diary.read(callers), diary.read(primary), {}, {}
    for _, invite in ipairs(told.invite) do
      local id = invite.id
      local answer = told.answered.by[id]
      if not answer then
        assert.equal("408", (told.refused.by[id] or {}).what, id)
        assert(dead.ringing.by[id], id)
        ringing[#ringing + 1] = id
      elseif answer.what == "a" and not dead.bye.by[id] then
        up[#up + 1] = id
      end
    end
    assert.equal(#told.invite, #told.answered + #told.refused)
    assert(#up > 0 and #ringing > 0)
    return told, up, ringing
  end

  -- How the BYEs of these calls ended.
  local function ends(told, list)
    local found = {}
    for _, id in ipairs(list) do
      found[#found + 1] = assert(told.bye.by[id], id .. ": its BYE has no end")
    end
    return found
  end

  local function report(told, up, ringing)
    local longest, late = 0, 0
    for _, answer in ipairs(told.answered) do
      local added = answer.at - told.invite.by[answer.id].at - ring / 1000
      longest = math.max(longest, added)
      late = late + (added > 0.05 and 1 or 0)
    end
    io.write(("\n%d calls; killed with %d up and %d ringing; %d answered by the backup; the "
      .. "longest added delay was %.0f ms, %d calls had more than 50 ms\n"):format(
      #told.invite, #up, #ringing, diary.count(told.answered, "b"), longest * 1000, late))
  end

  -- Nothing is open, and nothing counted at any server.
  local function nothing_left()
    assert.truthy(process.eventually(20, function()
      local list = tandem:logged("script", { message = "left" })
      return list[#list].left == 0
    end), "calls are still counted")
    assert.equal(0, tandem:stats().requests)
  end

  after_each(process.clean)

  it("costs no new call, and gives every BYE a defined end", function()
    start ""
    local callers = load(12 * rate)
    process.sleep(5)
    primary:signal "KILL"
    callers:succeed()

    local told, up, ringing = accounts(callers)
    report(told, up, ringing)
    assert.equal(#up, diary.count(ends(told, up), "500"))
    assert.same({}, { table.unpack(diary.read(backup).foreign) })
    nothing_left()
  end)

  it("with shared dialogs loses no BYE either, and gets its calls again after the hold", function()
    start "shared_dialogs = true,"
    local callers = load(26 * rate)
    process.sleep(5)
    primary:signal "KILL"
    process.sleep(hold / 1000 + 1) -- its calls have ended
    local returned = server("c", a)
    callers:succeed()

    local told, up, ringing = accounts(callers)
    report(told, up, ringing)
    local other, again = diary.read(backup), diary.read(returned)
    for _, id in ipairs(up) do
      assert(other.foreign.by[id] or again.foreign.by[id], id .. ": no server had its BYE")
    end
    assert.equal(#up, diary.count(ends(told, up), "200"))
    io.write(("%d BYEs of the dead server's calls got their 200\n"):format(#up))
    assert(diary.count(told.answered, "c") > 0, "no failback")
    assert.equal(diary.count(told.answered, "c"), #again.bye)
    tandem:wait_logged("pool.tier", { from = 2, to = 1 })
    nothing_left()
  end)
end)
