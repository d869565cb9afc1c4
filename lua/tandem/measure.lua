-- The numbers behind the metrics, as the control API asks for them: "metrics" is what a
-- worker has counted itself, "metrics.servers" what all workers know alike of pools and
-- servers (worker 0 is asked). They become metrics in control/metrics.lua.
local core = require "tandem.core"
local answers = require "tandem.answers"
local downtime = require "tandem.health.downtime"
local pool_state = require "tandem.health.state"
local registry = require "tandem.registry"
local tally = require "tandem.tally"
local ipairs, math = ipairs, math

local _ENV = nil

-- Servers in one answer: a scrape must not hold up the messages of a worker, however
-- many there are.
local page, counter_page = 100, 500

answers.on("metrics", core.metrics)

local function first_of(args)
  local from = args.from or 1
  if math.type(from) == "integer" and from >= 1 then
    return from
  end
  return nil, "from: a number from 1 on expected"
end

-- The counters of the script in this worker, likewise.
answers.on("metrics.user", function(args)
  local from, why = first_of(args)
  if not from then
    return nil, why
  end
  local list = core.counters(from, counter_page)
  return { user = list, next = #list == counter_page and from + counter_page or nil }
end)

local function show_server(server, now)
  local facts = server.facts
  local calls, inflight, setup, latency = facts:get("calls", "inflight", "setup", "latency")
  local stats = facts:stats()
  stats.down = core.seconds(stats.down) + downtime.running(server, now)
  return {
    pool = server.pool.name, server = server.name, tier = server.tier, weight = server.weight,
    status = (pool_state.status(server, now)), max_calls = server.max_calls,
    max_cps = server.max_cps, calls = calls, inflight = inflight, setup = setup,
    latency = core.seconds(latency), stats = stats,
  }
end

local function show_pools(now)
  local list = {}
  for i, pool in ipairs(registry.pools) do
    local _, tier = pool_state.pool(pool, now)
    local usable = pool_state.summary(pool, now).left
    list[i] = {
      pool = pool.name, tier = tier or 0, servers = #pool.servers, usable = usable,
      failovers = tally.get(pool, "failovers"), retries = tally.get(pool, "retries"),
      last_resort = tally.get(pool, "last_resort"),
    }
  end
  return list
end

-- The servers from number `from` on (1), and the number of the next page; the first
-- page has the pools too.
answers.on("metrics.servers", function(args, now)
  local from, why = first_of(args)
  if not from then
    return nil, why
  end
  local answer, number = { servers = {} }, 0
  answer.pools = from == 1 and show_pools(now) or nil
  for _, pool in ipairs(registry.pools) do
    if number + #pool.servers >= from and not answer.next then
      for i, server in ipairs(pool.servers) do
        if number + i >= from + page then
          answer.next = from + page
          break
        elseif number + i >= from then
          answer.servers[number + i - from + 1] = show_server(server, now)
        end
      end
    end
    number = number + #pool.servers
  end
  return answer
end)
