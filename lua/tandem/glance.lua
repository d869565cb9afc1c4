-- What the live page shows: what it needs and no more, the servers a piece at a time,
-- because it is asked every second and calls are waiting.
local core = require "tandem.core"
local answers = require "tandem.answers"
local held = require "tandem.health.held"
local places = require "tandem.dns.places"
local pool_state = require "tandem.health.state"
local record = require "tandem.health.record"
local registry = require "tandem.registry"
local slow_start = require "tandem.choice.slow_start"
local ipairs, math = ipairs, math

local _ENV = nil

local most = 100 -- servers in one piece: some 2 ms

-- What an INVITE ends with when nothing is wrong: a challenge, a caller who hung up,
-- somebody who does not want to talk.
local is_fine = {
  ["401"] = true, ["407"] = true, ["486"] = true, ["487"] = true, ["600"] = true, ["603"] = true,
}

-- Why it is what it is: what the page says beside the status.
local function explain(shown, server, now)
  local remembered, admin = record.load(server), pool_state.admin(server)
  local health = remembered.health
  shown.health_why, shown.health_who, shown.health_when = health.why, health.who, health.when
  if admin ~= "ready" then
    local order = remembered.admin
    shown.admin, shown.admin_why, shown.admin_who = admin, order.why, order.who
    shown.admin_when = order.when
    shown.admin_left = order.ends and math.max(order.ends - now, 0)
  end
  shown.has_left = pool_state.left(server) ~= nil or nil
  if shown.status == "held" then
    shown.holds = held(server, remembered.holds, now)
  end
end

local function addresses(server)
  local list = places.show(server)
  if #list < 2 then
    return nil
  end
  local short = {}
  for i, place in ipairs(list) do
    short[i] = { address = place.address, health = place.health }
  end
  return short
end

local function show(server, now)
  local facts, share = server.facts, slow_start.share(server, now)
  local shown = {
    name = server.name, uri = server.uri, tier = server.tier, weight = server.weight,
    status = (pool_state.status(server, now)), health = pool_state.health(server),
    calls = facts:get "calls", setup = facts:get "setup", inflight = facts:get "inflight",
    failures = facts:get "failures", max_calls = server.max_calls, max_cps = server.max_cps,
    latency = server.handle.latency, share = share < 1 and share or nil,
    addresses = addresses(server),
  }
  explain(shown, server, now)
  return shown
end

-- Servers number from .. from + 99 of all pools, each with the number of its pool; with
-- the first of them the pools; `next`: there are more.
answers.on("glance", function(args, now)
  local from, count = args.from or 1, 0
  local glance = { servers = {} }
  if from == 1 then
    glance.pools = {}
  end
  for i, pool in ipairs(registry.pools) do
    if from == 1 then
      local state, tier = pool_state.pool(pool, now)
      glance.pools[i] = { name = pool.name, state = state, active_tier = tier }
    end
    for _, server in ipairs(pool.servers) do
      count = count + 1
      if count >= from and count < from + most then
        local shown = show(server, now)
        shown.pool = i
        glance.servers[#glance.servers + 1] = shown
      end
    end
  end
  glance.next = count >= from + most and from + most or nil
  return glance
end)

-- INVITEs since the start, those within calls too, and how many of them have failed: the
-- page shows how fast the numbers grow.
answers.on("totals", function()
  local totals = { invites = 0, failures = 0 }
  for _, row in ipairs(core.metrics().counters) do
    local name, labels, value = row[1], row[2], row[3]
    if name == "tandem_requests_total" and labels == "method=INVITE" then
      totals.invites = value
    elseif name == "tandem_responses_total" then
      local code = labels:match "^method=INVITE,code=([%dx]+)$"
      if code and code >= "4" and not is_fine[code] then
        totals.failures = totals.failures + value
      end
    end
  end
  return totals
end)
