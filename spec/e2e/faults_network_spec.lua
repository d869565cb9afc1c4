-- Calls over cables that lose, delay, duplicate and reorder: the rows C11 of
-- docs/explanation/backend-faults.md. Every cable does it, in both directions: that of
-- the callers and those of both servers.
local faults = require "support.faults"
local process = require "support.process"

local pick = faults.pick

-- Who has the last word has all of a transaction to say it in.
local relay = [[
local sip = require "tandem"
sip.listen { "udp:%{address}" }
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:%{a}", tier = 1 }, { name = "b", uri = "sip:%{b}", tier = 2 },
  },
  check = { interval = 2, timeout = 1, fall = 3, rise = 2 }, attempt = { timeout = 2 },
})
sip.route(function(req) return req:relay(pbx) end)
]]
-- examples/failover.lua gives the last one two seconds, as the others.
local loop = "check = { interval = 2, timeout = 1, fall = 3, rise = 2 }, failback = { hold = 5 },"

describe("over bad cables", function()
  after_each(process.clean)

  local function run(loss, share, policy)
    local row = faults.row("C11", ("loss %g %%, jitter 50 ms, duplicates 5 %%, reordering 5 %%%s")
      :format(loss * 100, policy and ", " .. policy or ""))
    local f = faults.field(pending, { seconds = pick(180, 60), seed = 11 })
    if not f then return end
    local servers = {
      faults.server(f, "a", nil, nil, { quiet = false }),
      faults.server(f, "b", nil, nil, { quiet = false }),
    }
    local source = policy and faults.failover(f, loop)
      or process.fill(relay, { address = f.address, a = f.host.a, b = f.host.b })
    local tandem = faults.proxy(f, source, { "a", "b" })
    local weather = { loss = loss, delay = 50, jitter = 50, duplicate = 0.05, reorder = 0.05 }
    for _, name in ipairs(f.names) do
      f:cable(name, weather)
    end
    local o = faults.outcome(faults.callers(f, pick(40, 2)))
    local frames, lost = 0, 0
    for _, name in ipairs(f.names) do
      f:cable(name)
    end
    for _, name in ipairs(f.names) do
      local happened = f:happened(name)
      frames, lost = frames + happened.frames, lost + happened.lost
    end
    local most = 0
    for _, server in ipairs(servers) do
      most = math.max(most, (faults.transactions(server)))
    end
    local moved = 0
    for _, event in ipairs(tandem:logged("request", { method = "INVITE" })) do
      moved = moved + (event.tried:find(",", 1, true) and 1 or 0)
    end
    row:figure("frames", frames, { least = o.calls * 10 })
    -- The seed's dice fall for frames in the order they come: four times their spread.
    local spread = 4 * math.sqrt(loss * (1 - loss) / frames)
    row:figure("of them lost", lost / frames * 100, { least = (loss - spread) * 100,
      most = (loss + spread) * 100, unit = "%" })
    row:figure("calls", o.calls, { least = 1 })
    row:figure("successful", (o.calls - o.failed) / o.calls * 100, { least = share, unit = "%" })
    row:figure("tried at both servers", moved)
    row:figure("INVITE transactions of a call at a server", most, { least = 1, most = 1 })
    row:figure("the slowest rang after", o.longest, { unit = "s" })
    row:done()
  end

  if faults.full then
    it("C11: with 1 % of loss", function()
      run(0.01, 100)
    end)

    it("C11: with 20 % of loss", function()
      run(0.2, 99.5)
    end)

    it("C11: with 20 % of loss and little patience", function()
      run(0.2, 90, "examples/failover.lua")
    end)
  end

  it("C11: with 5 % of loss calls succeed, each in one transaction at a server", function()
    run(0.05, 99.9)
  end)
end)
