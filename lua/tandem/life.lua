-- What happens when the core is there, and when it goes: checks, timers, events.
local core = require "tandem.core"
local check = require "tandem.check"
local events = require "tandem.events"
local health = require "tandem.health"
local link = require "tandem.link"
local registry = require "tandem.registry"
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
    check.start(server)
  end)
  for _, pool in ipairs(registry.pools) do
    watch.update(pool, "start", now)
  end
  -- The shared table is as old as the node.
  if core.shared("tandem.node"):incr("generations", 1, 0) > 1 then
    events.emit { event = "config.reload" }
  end
end

function life.start()
  if core.worker() == 0 then
    take_charge(core.now())
  end
  events.start()
end

function life.stop()
  link.stop()
  each_server(check.stop)
  for _, pool in ipairs(registry.pools) do
    watch.stop(pool)
  end
  events.stop()
end

return life
