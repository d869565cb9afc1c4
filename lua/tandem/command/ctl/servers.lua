-- Pools and servers as text.
local duration = require "tandem.command.duration"
local text = require "tandem.command.text"
local ipairs, math, os, pairs, table = ipairs, math, os, pairs, table

local _ENV = nil

local servers = {}

local span = duration.text

-- ---- one server in a few words ----

-- The state as it is said: the status, and the health where it tells more.
---@param server table as /v1/servers has it
---@return string
---@return string colour
function servers.state(server)
  local status, health = server.status, server.health
  if status == "up" then
    if health == "falling" then
      return "up, falling", "yellow"
    end
    return health == "unknown" and "unchecked" or "up", health == "unknown" and "yellow" or "green"
  elseif status == "down" then
    return health == "rising" and "down, rising" or "down", "red"
  elseif (status == "drain" or status == "maint") and (health == "down" or health == "rising") then
    return status .. ", down", "yellow"
  end
  return status, "yellow"
end

local function by(why, who)
  if not why then
    return ""
  end
  return who and ("%s (%s)"):format(why, who) or why
end

local function hold(item)
  return item.reason .. (item.left and (", %s left"):format(span(item.left)) or "")
end

local function holds(server)
  local list = {}
  for i, item in ipairs(server.holds) do
    list[i] = hold(item)
  end
  return table.concat(list, "; ")
end

-- Does it carry as many calls as it may?
local function is_full(server)
  return server.max_calls ~= nil and server.calls >= server.max_calls
end

local function admin(server)
  if server.admin == "ready" then
    return "no longer in DNS"
  end
  -- What matters comes first: a long reason may be cut.
  local who = { server.admin_who, server.admin_left and span(server.admin_left) .. " left" }
  local why = server.admin_why or "no reason given"
  return who[1] and ("%s: %s"):format(text.join(who), why) or why
end

-- Why it is what it is, in one line; "" when there is nothing to say.
---@param server table
---@return string
function servers.why(server)
  local status, health = server.status, server.health
  if status == "maint" or status == "drain" then
    return admin(server)
  elseif status == "held" then
    return holds(server)
  elseif status == "down" or health == "falling" then
    return by(server.health_why, server.health_who)
  elseif is_full(server) then
    return "full"
  elseif server.slow_start and server.slow_start < 1 then
    return ("slow start, %.0f %%"):format(server.slow_start * 100)
  end
  return ""
end

local function calls(server)
  return server.max_calls and ("%d/%d"):format(server.calls, server.max_calls)
    or ("%d"):format(server.calls)
end

-- Does it take new requests now, for its tier is the one that does?
local function is_serving(server, pool)
  return server.status == "up" and server.tier == pool.active_tier
end

-- ---- pools ----

local pool_colour = { up = "green", backup = "yellow", down = "red" }

-- One line per pool.
---@param pools table[] as /v1/pools has them
---@param out tandem.Terminal
---@return string
function servers.pools(pools, out)
  if #pools == 0 then
    return "There are no pools.\n"
  end
  local rows = {}
  for i, pool in ipairs(pools) do
    rows[i] = {
      pool.name, pool.state, pool.active_tier and ("%d"):format(pool.active_tier) or "-",
      ("%d/%d"):format(pool.usable, pool.size), ("%d"):format(pool.calls),
      colours = { nil, pool_colour[pool.state] },
    }
  end
  return text.table({
    { title = "POOL" }, { title = "STATE" }, { title = "TIER", align = "right" },
    { title = "USABLE", align = "right" }, { title = "CALLS", align = "right" },
  }, rows, { width = out.width, paint = out.paint })
end

local function headline(pool, paint)
  return ("%s: %s, %s, %d of %s usable\n"):format(
    paint(text.clean(pool.name), "bold"), paint(pool.state, pool_colour[pool.state]),
    pool.active_tier and ("tier %d takes calls"):format(pool.active_tier) or "nothing takes calls",
    pool.usable, text.count(pool.size, "server"))
end

local columns = {
  { title = "" }, { title = "SERVER" }, { title = "TIER", align = "right", drop = 1 },
  { title = "STATE" }, { title = "FOR", align = "right" }, { title = "CALLS", align = "right" },
  { title = "OPEN", align = "right", drop = 3 }, { title = "WEIGHT", align = "right", drop = 2 },
  { title = "WHY", least = 12, drop = 4 },
}

-- The servers of a pool, those that take calls marked with *.
---@param pool table
---@param out tandem.Terminal
---@return string
function servers.pool(pool, out)
  local head = headline(pool, out.paint)
  if #pool.servers == 0 then
    return head
  end
  local rows, is_weighted = {}, false
  for _, server in ipairs(pool.servers) do
    is_weighted = is_weighted or server.weight ~= 1
  end
  for i, server in ipairs(pool.servers) do
    local state, colour = servers.state(server)
    local serves = is_serving(server, pool)
    rows[i] = {
      serves and "*" or " ", server.name, ("%d"):format(server.tier), state,
      server.status_for and span(server.status_for) or "", calls(server),
      ("%d"):format(server.inflight), is_weighted and ("%g"):format(server.weight) or "",
      servers.why(server),
      colours = {
        serves and "green" or nil, nil, nil, colour, nil, is_full(server) and "yellow" or nil,
      },
    }
  end
  return head .. text.table(columns, rows, { width = out.width, paint = out.paint })
end

---@param pools table[]
---@param out tandem.Terminal
---@return string
function servers.all(pools, out)
  local parts = {}
  for i, pool in ipairs(pools) do
    parts[i] = servers.pool(pool, out)
  end
  return #parts > 0 and table.concat(parts, "\n") or "There are no pools.\n"
end

-- ---- one server ----

-- Clock time, with the date when that was another day.
---@param time number seconds since 1970
---@param now? number the proxy's; without it the clock of this machine
---@return string
function servers.clock(time, now)
  local second = math.floor(time)
  local day = "%Y-%m-%d"
  if os.date(day, second) == os.date(day, now and math.floor(now)) then
    return (os.date("%H:%M:%S", second))
  end
  return (os.date("%Y-%m-%d %H:%M:%S", second))
end

local function since(server)
  if not server.status_for then
    return ""
  end
  return (" for %s, since %s"):format(span(server.status_for),
    servers.clock(server.status_when, server.status_when + server.status_for))
end

local function addresses(server)
  local list = {}
  for i, item in ipairs(server.addresses) do
    list[i] = ("%s:%s %s"):format(item.transport, item.address, item.health)
  end
  return list
end

local function load(server)
  local parts = { server.max_calls and ("%d of %d"):format(server.calls, server.max_calls)
    or ("%d"):format(server.calls) }
  parts[#parts + 1] = ("%d in set-up"):format(server.setup)
  parts[#parts + 1] = text.count(server.inflight, "request") .. " open"
  if server.cps > 0 or server.max_cps then
    parts[#parts + 1] = ("%g new per second%s"):format(server.cps,
      server.max_cps and (" of %g"):format(server.max_cps) or "")
  end
  return table.concat(parts, ", ")
end

local function change(item)
  local what = item.from and ("%s -> %s"):format(item.from, item.to) or item.to
  if item.what == "hold" then
    what = item.seconds == 0 and "ended" or item.seconds and "for " .. span(item.seconds) or "begun"
  elseif item.seconds then
    what = ("%s for %s"):format(what, span(item.seconds))
  end
  return { servers.clock(item.time), item.what, what or "", by(item.why, item.who) }
end

local function resources(server)
  local list = {}
  for name, item in pairs(server.resources or {}) do
    list[#list + 1] = ("%s %d of %d"):format(name, item.used, item.capacity)
  end
  table.sort(list)
  return list
end

-- What became of what was sent there since the start: "1204 sent: 1200 ok, 4 timeout".
local function attempts(outcomes)
  local parts, sum = {}, 0
  for _, name in ipairs { "ok", "rejected", "503", "timeout", "transport", "cancelled" } do
    local n = outcomes[name]
    sum = sum + n
    if n > 0 then
      parts[#parts + 1] = ("%d %s"):format(n, name)
    end
  end
  return sum > 0 and ("%d sent: %s"):format(sum, text.join(parts)) or "none sent yet"
end

local shown = 10 -- of its last changes

-- All that is known of a server.
---@param server table as /v1/pools/POOL/servers/NAME has it
---@param out tandem.Terminal
---@return string
function servers.show(server, out)
  local state, colour = servers.state(server)
  local lines = { ("%s  %s%s\n"):format(
    out.paint(text.clean(server.pool .. "/" .. server.name), "bold"),
    out.paint(state, colour), since(server)) }
  local function add(name, value)
    if value and value ~= "" then
      lines[#lines + 1] = ("  %-10s %s\n"):format(name, text.clean(value))
    end
  end
  local function add_list(name, list)
    for i, value in ipairs(list) do
      add(i == 1 and name or "", value)
    end
  end
  add("why", servers.why(server))
  add("uri", server.uri)
  add_list("addresses", addresses(server))
  add("tier", ("%d%s"):format(server.tier, server.tier == server.pool_tier and ", takes calls"
    or server.pool_tier and (", tier %d takes calls"):format(server.pool_tier) or ""))
  add("weight", ("%g"):format(server.weight))
  add("calls", load(server))
  add_list("resources", resources(server))
  add("health", by(server.health, nil) .. (server.health_why
    and (": %s"):format(by(server.health_why, server.health_who)) or ""))
  add("latency", server.latency and server.latency > 0 and duration.short(server.latency))
  add("requests", attempts(server.attempts))
  if server.failures > 0 or server.falls > 0 then
    add("failures", ("%d in a row, %s lately"):format(server.failures,
      text.count(server.falls, "fall")))
  end
  add("holds", server.status ~= "held" and holds(server))
  add("admin", server.admin ~= "ready" and server.admin_when
    and ("%s since %s"):format(server.admin, servers.clock(server.admin_when)))
  if #server.history > 0 then
    local rows = {}
    for i = #server.history, math.max(1, #server.history - shown + 1), -1 do
      rows[#rows + 1] = change(server.history[i])
    end
    lines[#lines + 1] = "\n" .. text.table({
      { title = "WHEN" }, { title = "WHAT" }, { title = "CHANGE" }, { title = "WHY", least = 12 },
    }, rows, { width = out.width, paint = out.paint, indent = "  " })
  end
  return table.concat(lines)
end

return servers
