-- The pools as plain tables: for the simulator, status commands and metrics.
local core = require "tandem.core"
local answers = require "tandem.answers"
local history = require "tandem.health.history"
local places = require "tandem.dns.places"
local pool_state = require "tandem.health.state"
local record = require "tandem.health.record"
local registry = require "tandem.registry"
local slow_start = require "tandem.choice.slow_start"
local ipairs, math, pairs, table = ipairs, math, pairs, table

local _ENV = nil

local inspect = {}

local function holds(remembered, failback, is_endless, now)
  local list = {}
  for reason, finish in pairs(remembered.holds) do
    if finish > now then
      list[#list + 1] = { reason = reason, left = finish - now }
    end
  end
  if failback > now then -- without `left` it has no end
    list[#list + 1] = {
      reason = "failback", left = not is_endless and failback - now or nil,
    }
  end
  table.sort(list, function(a, b)
    return a.reason < b.reason
  end)
  return list
end

---@param server table
---@param now number
local function show(server, now)
  local facts, remembered = server.facts, record.load(server)
  local others, failback = pool_state.held_until(server)
  local is_endless, admin = pool_state.is_endless(server), remembered.admin
  return {
    name = server.name, uri = server.uri, tier = server.tier, weight = server.weight,
    status = (pool_state.status(server, now)),
    health = pool_state.health(server), health_why = remembered.health.why,
    health_who = remembered.health.who, health_when = remembered.health.when,
    admin = pool_state.admin(server), admin_why = admin.why,
    admin_who = admin.who, admin_when = admin.when,
    admin_configured = server.configured_admin, admin_kept = admin.is_kept,
    admin_left = admin.ends and math.max(admin.ends - now, 0),
    held_for = not is_endless and math.max(others, failback, now) - now or nil,
    holds = holds(remembered, failback, is_endless, now),
    history = history.load(server),
    since = core.seconds(facts:get "since"),
    up_for = server.handle.up_for,
    streak = facts:get "streak", falls = facts:get "falls", failures = facts:get "failures",
    inflight = facts:get "inflight", setup = facts:get "setup", calls = facts:get "calls",
    cps = facts:rate(),
    max_calls = server.max_calls, max_cps = server.max_cps,
    addresses = places.show(server),
    resources = server.handle.resources, slow_start = slow_start.share(server, now),
    latency = server.handle.latency,
  }
end

-- All pools as they were declared, with their servers likewise.
---@return table[]
function inspect.pools()
  local now, list = core.now(), {}
  for i, pool in ipairs(registry.pools) do
    local state, tier = pool_state.pool(pool, now)
    local shown = { name = pool.name, state = state, active_tier = tier, servers = {} }
    for j, server in ipairs(pool.servers) do
      shown.servers[j] = show(server, now)
    end
    list[i] = shown
  end
  return list
end

answers.on("pools", inspect.pools)

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

-- How much there is to wait for when it should end.
answers.on("load", function()
  local requests, calls = core.load()
  return { requests = requests, calls = calls }
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
