-- What scripts and operators say of a server, carried out by worker 0: out of order,
-- draining, ready again - for good or for a time -, held, released. Without an order a
-- server is as the script declares it (`admin`); when that changes, it counts, whatever
-- was ordered before.
local core = require "tandem.core"
local health = require "tandem.health.health"
local holds = require "tandem.health.holds"
local link = require "tandem.link"
local overrides = require "tandem.config.overrides"
local pool_state = require "tandem.health.state"
local record = require "tandem.health.record"
local registry = require "tandem.registry"
local report = require "tandem.health.report"
local watch = require "tandem.health.watch"
local ipairs, math, pairs = ipairs, math, pairs

local _ENV = nil

local orders = {}

local admin_code = pool_state.admin_code
local longest = 30 * 86400 -- seconds: no order lasts longer, whatever the clock said then
local admin

---@param server table
function orders.stop(server)
  if server.admin_timer then
    server.admin_timer:cancel()
    server.admin_timer = nil
  end
end

-- An order with an end is over by itself; also one from before a reload.
---@param server table
---@param now number
function orders.start(server, now)
  orders.stop(server)
  local ends = server.record.admin.ends
  if ends then
    server.admin_timer = core.after(ends > now and ends - now or 0, function()
      server.admin_timer = nil
      admin(server, {
        to = server.configured_admin, why = "its time is over", who = "timer",
      }, core.now())
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

-- What is remembered of an order. `is_kept`: also after a restart.
local function note(server, args, now)
  local configured = server.configured_admin
  server.record.admin = {
    why = args.why, who = args.who, when = args.when or core.wall(), configured = configured,
    ends = args.seconds and now + args.seconds,
    is_kept = args.is_kept and args.to ~= configured or nil,
  }
  record.save(server)
end

-- What operators ordered outlives the process. An order whose server is not known (yet)
-- is kept as long as its pool finds its servers by itself.
local function keep(now)
  local list = orders.kept(now)
  for full, order in pairs(overrides.orders()) do
    local pool = registry.pool(order.pool)
    if pool and pool.discover and not registry.server(full) then
      list[#list + 1] = order
    end
  end
  overrides.save(list)
end

-- args: to, why, who, seconds, is_kept.
function admin(server, args, now)
  local from, before = pool_state.admin(server), server.record.admin
  note(server, args, now)
  orders.start(server, now)
  if args.is_kept or before.is_kept then
    server.facts:set("admin", admin_code[args.to]) -- what is kept
    keep(now)
  end
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

-- ---- a generation begins ----

-- The order that the process before has kept; nil: none, or it has ended.
local function kept_order(server)
  local order = overrides.orders()[server.full]
  if not order or (order.ends and order.ends <= core.wall()) then
    return nil
  elseif order.configured ~= server.configured_admin then
    server.dropped_order = order
    return nil
  end
  return order
end

local function change(server, order, now)
  local from = pool_state.admin(server)
  local to = order and order.value or server.configured_admin
  if not order and to == "ready" and from == to then
    server.record.admin = { configured = to } -- nobody has ordered anything
    return record.save(server)
  end
  note(server, {
    to = to, why = order and order.reason or "configured", who = order and order.who or "script",
    when = order and order.when, is_kept = order ~= nil,
    seconds = order and order.ends and math.min(order.ends - core.wall(), longest),
  }, now)
  if from ~= to then
    server.facts:set("admin", admin_code[to])
    server.admin_change = { from = from, to = to }
  end
end

-- Takes up the orders of before, or what the script says. What is to be told of that
-- orders.tell tells.
---@param server table
---@param now number
function orders.begin(server, now)
  local known = server.record.admin
  if not known.configured then
    change(server, kept_order(server), now)
  elseif known.configured ~= server.configured_admin then
    server.dropped_order = known.is_kept and {
      value = pool_state.admin(server), configured = known.configured, who = known.who,
    }
    change(server, nil, now)
  end
  orders.start(server, now)
end

---@param server table
---@param now number
function orders.tell(server, now)
  local order, changed, said = server.dropped_order, server.admin_change, server.record.admin
  server.dropped_order, server.admin_change = nil, nil
  if order then
    overrides.say_dropped(server.pool.name, server.name, "admin", order, server.configured_admin)
  end
  if changed then
    report.admin(server, {
      from = changed.from, to = changed.to, why = said.why, who = said.who,
      seconds = said.ends and said.ends - now,
    }, now)
  end
end

-- A generation has taken over: it may have dropped some.
---@param now number
function orders.save(now)
  keep(now)
end

-- The orders of operators that outlive the process.
---@param now number
---@return table[]
function orders.kept(now)
  local list = {}
  for _, pool in ipairs(registry.pools) do
    for _, server in ipairs(pool.servers) do
      local said = record.load(server).admin
      if said.is_kept then
        list[#list + 1] = {
          pool = pool.name, server = server.name, value = pool_state.admin(server),
          configured = said.configured, who = said.who, when = said.when, reason = said.why,
          ends = said.ends and core.wall() + said.ends - now,
        }
      end
    end
  end
  return list
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
