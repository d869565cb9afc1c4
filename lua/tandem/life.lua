-- What happens when the core is there, and when it goes: checks, timers, events.
local core = require "tandem.core"
local address = require "tandem.health.address"
local ahead = require "tandem.dns.ahead"
local answers = require "tandem.answers"
local asking = require "tandem.health.asking"
local changes = require "tandem.config.changes"
local check = require "tandem.health.check"
local declare = require "tandem.config.declare"
local discover = require "tandem.dns.discover"
local events = require "tandem.events"
local health = require "tandem.health.health"
local holds = require "tandem.health.holds"
local link = require "tandem.link"
local orders = require "tandem.health.orders"
local overrides = require "tandem.config.overrides"
local places = require "tandem.dns.places"
local record = require "tandem.health.record"
local registry = require "tandem.registry"
local report = require "tandem.health.report"
local warm = require "tandem.health.warm"
local watch = require "tandem.health.watch"
local ipairs, table = ipairs, table

local _ENV = nil

local life = {}

local tend_interval = 10
local tending -- the timer

local function each_server(act)
  for _, pool in ipairs(registry.pools) do
    for _, server in ipairs(pool.servers) do
      act(server)
    end
  end
end

-- Where memory ran out a timer may be missing: of a check, of the end of a hold or of
-- an order. Everybody looks whether he has his.
local function tend()
  local now = core.now()
  each_server(function(server)
    orders.tend(server, now)
    ahead.tend(server, now)
    if server.untold then
      check.retarget(server, now)
    end
    address.expire(server, now) -- and tells
    asking.start(server)
  end)
  discover.tend(now)
  for _, pool in ipairs(registry.pools) do
    holds.expire(pool, now)
    pool.watched = nil -- look, although nothing has changed
    watch.update(pool, "looked again", now)
  end
end

-- Worker 0 decides for all.
local function take_charge(now)
  link.start()
  each_server(function(server)
    server.untold = true -- until places.start
    health.start(server, now)
    orders.begin(server, now)
    check.start(server, now)
    ahead.start(server)
  end)
  discover.start()
  warm.start()
  tending = core.every(tend_interval, tend)
  if core.generation() > 1 then
    events.emit { event = "config.reload" }
  end
end

-- What there is, for those who hear of changes.
local function tell(now)
  each_server(function(server)
    report.start(server, server.is_new, now)
    orders.tell(server, now)
  end)
  for _, pool in ipairs(registry.pools) do
    watch.update(pool, "start", now)
  end
end

local changed = { added = {}, removed = {}, changed = {} } -- by this generation

-- Says what this generation changes, of which it is told when there was one before.
local function tell_changes()
  local before = core.dump_before()
  if before then
    changed = changes.find(core.json_decode(before), core.json_decode(declare.dump()))
    local fields = changes.fields(changed)
    table.insert(fields, 1, { "generation", core.generation() })
    core.event("info", "reload", fields)
  end
end

-- When it fails, the generation before stays: so what cannot be taken back comes last.
function life.start()
  local is_first = core.worker() == 0
  if is_first then
    warm.load()
  end
  discover.load()
  if is_first then
    record.begin()
    take_charge(core.now())
  else
    each_server(places.load)
  end
  events.start()
  if is_first then
    tell(core.now())
    record.commit()
    tell_changes()
    overrides.tell()
    orders.save(core.now())
  end
  core.spawn(function() -- when there is no way back any more
    each_server(places.start)
  end)
end

answers.on("changes", function()
  return {
    generation = core.generation(),
    added = changed.added, removed = changed.removed, changed = changed.changed,
  }
end)

function life.stop()
  link.stop()
  discover.stop()
  if tending then
    tending:cancel()
  end
  each_server(function(server)
    ahead.stop(server)
    check.stop(server)
    health.stop(server)
    orders.stop(server)
  end)
  for _, pool in ipairs(registry.pools) do
    watch.stop(pool)
  end
  events.stop()
  warm.stop()
end

return life
