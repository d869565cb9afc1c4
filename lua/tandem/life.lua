-- What happens when the core is there, and when it goes: checks, timers, events.
local core = require "tandem.core"
local check = require "tandem.check"
local events = require "tandem.events"
local health = require "tandem.health"
local link = require "tandem.link"
local orders = require "tandem.orders"
local registry = require "tandem.registry"
local report = require "tandem.report"
local watch = require "tandem.watch"
local ipairs = ipairs

local _ENV = nil

local life = {}

local function each_server(act)
  for _, pool in ipairs(registry.pools) do
    for _, server in ipairs(pool.servers) do
      act(server)
    end
  end
end

-- Worker 0 decides for all.
local function take_charge(now)
  link.start()
  each_server(function(server)
    health.start(server, now)
    orders.start(server, now)
    check.start(server, now)
  end)
  -- The shared table is as old as the node.
  if core.shared("tandem.node"):incr("generations", 1, 0) > 1 then
    events.emit { event = "config.reload" }
  end
end

-- What there is, for those who hear of changes.
local function tell(now)
  each_server(function(server)
    report.start(server, server.is_new, now)
  end)
  for _, pool in ipairs(registry.pools) do
    watch.update(pool, "start", now)
  end
end

function life.start()
  local is_first = core.worker() == 0
  if is_first then
    take_charge(core.now())
  end
  events.start()
  if is_first then
    tell(core.now())
  end
end

function life.stop()
  link.stop()
  each_server(function(server)
    check.stop(server)
    health.stop(server)
    orders.stop(server)
  end)
  for _, pool in ipairs(registry.pools) do
    watch.stop(pool)
  end
  events.stop()
end

return life
