-- The pools as plain tables: for the simulator, status commands and metrics.
local core = require "tandem.core"
local answers = require "tandem.answers"
local held = require "tandem.health.held"
local history = require "tandem.health.history"
local places = require "tandem.dns.places"
local pool_state = require "tandem.health.state"
local record = require "tandem.health.record"
local registry = require "tandem.registry"
local slow_start = require "tandem.choice.slow_start"
local status_since = require "tandem.health.status_since"
local ipairs, math, table = ipairs, math, table

local _ENV = nil

local inspect = {}

-- What became of the requests that were sent there.
local function attempts(facts)
  local stats = facts:stats()
  return {
    ok = stats.ok, rejected = stats.rejected, ["503"] = stats["503"], timeout = stats.timeout,
    transport = stats.transport, cancelled = stats.cancelled,
  }
end

local most_of_change = 400 -- bytes; with its time each is another

-- Since when the status is so. Its history is gone through again only when there is
-- something new: there may be a thousand servers, and somebody who looks every second.
local function status_when(server, status)
  local text, seen = history.text(server), server.seen
  local last = text and text:sub(-most_of_change)
  if not seen or seen.last ~= last or seen.status ~= status then
    seen = {
      last = last, status = status,
      when = status_since(status, history.load(server), core.wall()),
    }
    server.seen = seen
  end
  return seen.when
end

---@param server table
---@param now number
local function show(server, now)
  local facts, remembered = server.facts, record.load(server)
  local others, failback = pool_state.held_until(server)
  local is_endless, admin = pool_state.is_endless(server), remembered.admin
  local status = pool_state.status(server, now)
  local when = status_when(server, status)
  return {
    pool = server.pool.name, name = server.name, uri = server.uri, tier = server.tier,
    weight = server.weight,
    status = status, status_when = when, status_for = when and math.max(core.wall() - when, 0),
    health = pool_state.health(server), health_why = remembered.health.why,
    health_who = remembered.health.who, health_when = remembered.health.when,
    admin = pool_state.admin(server), admin_why = admin.why,
    admin_who = admin.who, admin_when = admin.when,
    admin_configured = server.configured_admin, admin_kept = admin.is_kept,
    admin_left = admin.ends and math.max(admin.ends - now, 0),
    held_for = not is_endless and math.max(others, failback, now) - now or nil,
    holds = held(server, remembered.holds, now),
    up_for = server.handle.up_for,
    streak = facts:get "streak", falls = facts:get "falls", failures = facts:get "failures",
    inflight = facts:get "inflight", setup = facts:get "setup", calls = facts:get "calls",
    cps = facts:rate(),
    max_calls = server.max_calls, max_cps = server.max_cps,
    addresses = places.show(server), attempts = attempts(facts),
    resources = server.handle.resources, slow_start = slow_start.share(server, now),
    latency = server.handle.latency,
  }
end

-- The same with what only makes sense for one of them.
local function show_one(server, now)
  local shown = show(server, now)
  shown.history = history.load(server)
  shown.pool_state, shown.pool_tier = pool_state.pool(server.pool, now)
  return shown
end

-- A pool without its servers.
local function head(pool, now)
  local state, tier = pool_state.pool(pool, now)
  local usable, calls, unchecked = 0, 0, 0
  for i = 1, #pool.servers do
    local server = pool.servers[i]
    usable = usable + (pool_state.status(server, now) == "up" and 1 or 0)
    calls = calls + server.facts:get "calls"
    unchecked = unchecked + (server.check and 0 or 1)
  end
  return {
    name = pool.name, state = state, active_tier = tier, size = #pool.servers, usable = usable,
    calls = calls, unchecked = unchecked, servers = {},
  }
end

-- All pools as they were declared, with their servers likewise: for the simulator.
---@return table[]
function inspect.pools()
  local now, list = core.now(), {}
  for i, pool in ipairs(registry.pools) do
    local shown = head(pool, now)
    for j, server in ipairs(pool.servers) do
      local one = show_one(server, now)
      one.since = core.seconds(server.facts:get "since")
      shown.servers[j] = one
    end
    list[i] = shown
  end
  return list
end

local function names_of(list)
  local names = {}
  for i, item in ipairs(list) do
    names[i] = item.name
  end
  return names
end

local function named(list, name)
  for _, item in ipairs(list) do
    if item.name == name then
      return item
    end
  end
end

local most = 50 -- servers in one answer: no message waits for more than some 5 ms

-- The pools `list`, with their servers from number `from` on, through all of them.
local function page(list, from, now)
  local answer, number = { pools = {} }, 0
  for i, pool in ipairs(list) do
    local shown = from == 1 and head(pool, now) or { name = pool.name, servers = {} }
    for j = math.max(from - number, 1), math.min(from + most - 1 - number, #pool.servers) do
      table.insert(shown.servers, show(pool.servers[j], now))
    end
    number = number + #pool.servers
    answer.pools[i] = shown
  end
  answer.next = number >= from + most and from + most or nil
  return answer
end

-- args: from, the number of a server through all pools; or pool, only that one; or pool
-- and server. What is not there is answered with the names of what is.
answers.on("pools", function(args, now)
  local from, list = args.from or 1, registry.pools
  if math.type(from) ~= "integer" or from < 1 then
    return nil, "from: a number from 1 on expected"
  end
  local pool = args.pool and named(list, args.pool)
  if args.pool and not pool then
    return { no_pool = names_of(list) }
  elseif not args.server then
    return page(pool and { pool } or list, from, now)
  end
  local server = named(pool.servers, args.server)
  return server and { server = show_one(server, now) } or { no_server = names_of(pool.servers) }
end)

-- Only what the pools are.
answers.on("pools.heads", function(_, now)
  local list = {}
  for i, pool in ipairs(registry.pools) do
    list[i] = head(pool, now)
    list[i].servers = nil
  end
  return list
end)

local function plural(n, what)
  return ("%d %s%s"):format(n, what, n == 1 and "" or "s")
end

-- One line for the service manager.
answers.on("summary", function(_, now)
  local servers, up = 0, 0
  for _, pool in ipairs(registry.pools) do
    servers = servers + #pool.servers
    for _, server in ipairs(pool.servers) do
      up = up + (pool_state.status(server, now) == "up" and 1 or 0)
    end
  end
  return ("%s, %d/%s up"):format(plural(#registry.pools, "pool"), up, plural(servers, "server"))
end)

-- How much there is to wait for when it should end, and whether it is too much.
answers.on("load", function()
  local requests, calls, overloaded = core.load()
  return { requests = requests, calls = calls, overloaded = overloaded }
end)

-- What operators ask, for specs: `question` has what and args. Gives { value } or
-- { why = text }.
---@param question { what: string, args: table? }
---@return table
function inspect.ask(question)
  local value, why = answers.give(question.what, question.args)
  return { value, why = why }
end

return inspect
