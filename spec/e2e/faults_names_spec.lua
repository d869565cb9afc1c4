-- A server by name while the DNS server is slow, and dead, and says something new: the
-- rows C12 of docs/explanation/backend-faults.md. The DNS server is a real one, at the
-- end of a cable of its own.
local diary = require "support.diary"
local dns_server = require "support.dns_server"
local faults = require "support.faults"
local process = require "support.process"

local pick = faults.pick
local ttl = 2

local source = [[
local sip = require "tandem"
sip.listen { "udp:%{address}" }
sip.settings { dns = { servers = { "%{dns}:5300" } } }
local pbx = sip.pool("pbx", { servers = { { name = "pbx", uri = "sip:pbx.example" } },
  check = { interval = 1, timeout = 0.5 } })
sip.route(function(req) return req:relay(pbx) end)
]]

describe("the name of a server", function()
  after_each(process.clean)

  it("C12: is looked up while calls go on, whatever DNS does", function()
    local row = faults.row("C12", "SRV changes; then DNS takes 5 s, then it is silent")
    local f = faults.field(pending, { machines = { "phones", "a", "b", "dns" },
      seconds = pick(200, 60) })
    if not f then return end
    local function records(target)
      return { { "srv", "_sip._udp.pbx.example", target, 5060, 1, 1 },
        { "host", "a.example", f.host.a }, { "host", "b.example", f.host.b } }
    end
    local dns = dns_server.start { port = 5300, ttl = ttl, records = records "a.example",
      address = f.host.dns, inside = f.dns, limit = f.seconds }
    local b = faults.server(f, "b")
    faults.server(f, "a")
    local tandem = faults.proxy(f, process.fill(source, { address = f.address,
      dns = f.host.dns }), { "pbx" })
    local callers = faults.callers(f, pick(100, 5))
    process.sleep(0.5)
    dns:change(records "b.example")
    local changed = process.now()
    process.eventually(20, function() return diary.read(b).ringing[1] end)
    local used = process.now() - changed
    local before = #tandem:logged "server.unresolved"
    f:cable("dns", { delay = 5000 })
    process.sleep(pick(40, 0))
    f:cable("dns", { loss = 1 })
    local o = faults.outcome(callers)
    row:figure("calls", o.calls, { least = 1 })
    row:figure("failed", o.failed, { most = 0 })
    row:figure("late calls", #o.late, { most = 0, loose = o.calls / 10 })
    row:figure("the new target is used after", used,
      { most = ttl + 1, loose = ttl + 4, unit = "s" })
    row:figure("look-ups without an answer", #tandem:logged "server.unresolved" - before,
      { least = 1 })
    row:done()
  end)
end)
