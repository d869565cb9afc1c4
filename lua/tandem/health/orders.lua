-- What scripts and operators say of a server, carried out by worker 0: out of order,
-- draining, ready again - for good or for a time -, held, released.
local core = require "tandem.core"
local health = require "tandem.health.health"
local holds = require "tandem.health.holds"
local link = require "tandem.link"
local pool_state = require "tandem.health.state"
local record = require "tandem.health.record"
local report = require "tandem.health.report"
local watch = require "tandem.health.watch"

local _ENV = nil

local orders = {}

local admin_code = pool_state.admin_code
local admin

---@param server table
function orders.stop(server)
  if server.admin_timer then
    server.admin_timer:cancel()
    server.admin_timer = nil
  end
end

-- An order with an end becomes `ready` by itself; also one from before a reload.
---@param server table
---@param now number
function orders.start(server, now)
  orders.stop(server)
  local ends = server.record.admin.ends
  if ends then
    server.admin_timer = core.after(ends > now and ends - now or 0, function()
      server.admin_timer = nil
      admin(server, { to = "ready", why = "its time is over", who = "timer" }, core.now())
    end)
  end
end

-- Is the end of the order still awaited?
---@param server table
---@param now number
function orders.tend(server, now)
  local ends = server.record.admin.ends
  if ends and (not server.admin_timer or ends < now) then
    orders.start(server, now)
  end
end

-- args: to, why, who, seconds.
function admin(server, args, now)
  local from, before = pool_state.admin(server), server.record.admin
  server.record.admin = {
    why = args.why, who = args.who, when = core.wall(),
    ends = args.seconds and now + args.seconds,
  }
  record.save(server)
  orders.start(server, now)
  if from == args.to and not args.seconds and not before.ends then
    return
  end
  server.facts:set("admin", admin_code[args.to])
  server.evidence = server.evidence + 1
  report.admin(server, {
    from = from, to = args.to, why = args.why, who = args.who, seconds = args.seconds,
  }, now)
  if from == "maint" and args.to ~= "maint" then
    health.forget(server, "was in maint", args.who, now)
    server.facts:set("returned", core.us(now))
  end
  watch.update(server.pool, args.why, now)
end

link.command("admin", function(server, args, now)
  admin(server, args, now)
end)

link.command("hold", function(server, args, now)
  holds.put(server, args.why, args.seconds, args.who, now)
  watch.update(server.pool, args.why, now)
end)

-- The end of the failback hold.
link.command("release", function(server, args, now)
  if holds.release(server, args.who, now) then
    watch.update(server.pool, "failback", now)
  end
end)

return orders
