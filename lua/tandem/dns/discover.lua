-- Pools that find their servers in DNS, in worker 0: looked up at start and when the
-- answer runs out; each address is a server. One that DNS names no more takes no new
-- dialogs, and goes when its calls are over. As long as nobody answers, or there is
-- nothing any more, what was known stays for `stale` seconds.
local core = require "tandem.core"
local lookup = require "tandem.dns.lookup"
local naming = require "tandem.dns.naming"
local pool_state = require "tandem.health.state"
local ranking = require "tandem.dns.ranking"
local registry = require "tandem.registry"
local roster = require "tandem.dns.roster"
local watch = require "tandem.health.watch"
local ipairs, math, table = ipairs, math, table

local _ENV = nil

local discover = {}

-- After the last call: 64 * T1, so that its transactions are over as well.
local rest = 32 -- seconds
local sweep_interval = 5

-- ---- what has changed ----

local kinds = { "added", "changed", "left", "back", "removed" }

local function nothing_changed()
  local changes = { any = false }
  for _, kind in ipairs(kinds) do
    changes[kind] = {}
  end
  return changes
end

local function note(changes, kind, name)
  table.insert(changes[kind], name)
  changes.any = true
end

local function say(pool, changes, dropped)
  local named = 0
  for _, entry in ipairs(pool.roster.list) do
    named = named + (entry.left and 0 or 1)
  end
  local fields = { { "pool", pool.name }, { "servers", named } }
  for _, kind in ipairs(kinds) do
    if #changes[kind] > 0 then
      table.sort(changes[kind])
      fields[#fields + 1] = { kind, table.concat(changes[kind], ",") }
    end
  end
  if dropped > 0 then
    fields[#fields + 1] = { "dropped", dropped }
  end
  core.event(dropped > 0 and "warn" or "info", "pool.discovered", fields)
end

-- ---- the list ----

local function by_addr(list)
  local found = {}
  for _, entry in ipairs(list) do
    found[entry.addr] = entry
  end
  return found
end

-- What DNS says now, with the names that are known. Gives how many got none.
local function named(pool, list, before, changes)
  local taken, all, find_name = {}, {}, naming.of(pool.name, list)
  for _, entry in ipairs(pool.roster.list) do
    taken[entry.name] = true
  end
  for _, entry in ipairs(list) do
    local was = before[entry.addr]
    entry.name = was and was.name or find_name(entry, taken)
    if not was and entry.name then
      note(changes, "added", entry.name)
    elseif was and was.left then
      note(changes, "back", entry.name)
    elseif was and (was.tier ~= entry.tier or was.weight ~= entry.weight
      or was.uri ~= entry.uri) then
      note(changes, "changed", entry.name)
    end
    if entry.name then
      taken[entry.name] = true
      all[#all + 1] = entry
    end
  end
  return all, #list - #all
end

-- Those that DNS names no more stay, behind the others.
local function add_left(pool, all, changes)
  local now_named = by_addr(all)
  for _, was in ipairs(pool.roster.list) do
    if not now_named[was.addr] then
      if not was.left then
        note(changes, "left", was.name)
      end
      was.left = true
      all[#all + 1] = was
    end
  end
end

-- The facts of the servers as the list says.
local function mark(pool, now)
  for _, entry in ipairs(pool.roster.list) do
    local server = pool.by_name[entry.name]
    local left = server and pool_state.left(server)
    if server and (left ~= nil) ~= (entry.left == true) then
      server.facts:set("left", entry.left and core.us(now) or 0)
      server.idle_since = nil
    end
  end
end

local sweep

-- Looks for those that can go, as long as there are any.
local function arm_sweep(pool)
  local waits = false
  for _, entry in ipairs(pool.roster.list) do
    waits = waits or entry.left
  end
  if waits and not pool.sweeping then
    pool.sweeping = core.after(sweep_interval, function()
      pool.sweeping = nil
      sweep(pool, core.now())
    end)
  end
end

-- The servers become those of the list. A new one begins slowly, but for those that a
-- name gives when it is found for the first time.
local function take(pool, first_of, now)
  pool.settled = false
  for _, server in ipairs(roster.change(pool, now)) do
    if server.known_as ~= first_of then
      server.facts:set("returned", core.us(now))
    end
  end
  mark(pool, now)
  watch.update(pool, "dns", now)
  pool.settled = true
  arm_sweep(pool)
end

-- Every server of the list that has no place yet.
local function count_homeless(pool)
  local n = 0
  for _, entry in ipairs(pool.roster.list) do
    n = n + (pool.by_name[entry.name] and 0 or 1)
  end
  return n
end

-- Makes the list of what is known of all names. `first_of`: the one that was found for
-- the first time.
local function merge(pool, is_news, now, first_of)
  local answers, changes = {}, nothing_changed()
  pool.waits = false
  for i, uri in ipairs(pool.discover.names) do
    local found = pool.roster.found[uri]
    answers[i] = { uri = uri, list = found and found.list or {} }
  end
  local list, dropped = ranking.of(answers, pool.discover.max)
  local all, nameless = named(pool, list, by_addr(pool.roster.list), changes)
  add_left(pool, all, changes)
  pool.roster.list = all
  if changes.any or not pool.settled or count_homeless(pool) > 0 then
    take(pool, first_of, now)
  else
    roster.save(pool)
  end
  if changes.any or is_news then
    say(pool, changes, dropped + nameless + count_homeless(pool))
  end
end

-- ---- who has left ----

local function is_busy(server)
  local inflight, setup, calls = server.facts:get("inflight", "setup", "calls")
  return inflight + setup + calls > 0
end

-- An order of an operator is not forgotten: the server stays in sight until that ends.
local function may_go(entry, server, now)
  if not entry.left then
    return false
  elseif not server then
    return true
  end
  local left = pool_state.left(server)
  if is_busy(server) or pool_state.admin(server) ~= "ready" then
    server.idle_since = nil
    return false
  end
  server.idle_since = server.idle_since or math.max(left or now, now - sweep_interval)
  return now - server.idle_since >= rest
end

function sweep(pool, now)
  local stays, changes = {}, nothing_changed()
  for _, entry in ipairs(pool.roster.list) do
    if may_go(entry, pool.by_name[entry.name], now) then
      note(changes, "removed", entry.name)
    else
      stays[#stays + 1] = entry
    end
  end
  if changes.any then
    pool.roster.list = stays
    take(pool, nil, now)
    say(pool, changes, count_homeless(pool))
  end
  arm_sweep(pool)
end

-- ---- looking up ----

-- What is known of a name with a new answer: only what is needed of it, and since when.
-- What DNS could not say anew is as old as it was; and is not taken up again when it was
-- too old.
local function known_with(before, list, now)
  local ages, known = {}, {}
  for _, place in ipairs(before or {}) do
    ages[place.addr] = place.at
  end
  for _, place in ipairs(list) do
    local at = now
    if place.stale and before then
      at = ages[place.addr]
    end
    if at then
      known[#known + 1] = {
        addr = place.addr, target = place.target, rank = place.rank, weight = place.weight,
        at = at,
      }
    end
  end
  return known
end

local function on_found(pool, uri, list, is_news, now)
  local found = pool.roster.found
  local is_first = found[uri] == nil
  if is_first or not list.all_stale then
    found[uri] = { list = known_with(found[uri] and found[uri].list, list, now) }
  end
  merge(pool, is_news, now, is_first and uri or nil)
end

-- Those that are not too old, and how long the next of them has.
local function fresh(pool, list, now)
  local stay, left = {}, math.huge
  for _, place in ipairs(list) do
    local rest_of_it = place.at + pool.discover.stale - now
    left = math.min(left, math.max(rest_of_it, 0))
    if rest_of_it > 0 then
      stay[#stay + 1] = place
    end
  end
  return stay, #list > 0 and left or 0
end

-- Somebody should look at that, and has until `stale` is over.
local function on_lost(pool, uri, why, is_news, now)
  local found = pool.roster.found[uri]
  local list = found and found.list or {}
  local stay, left = fresh(pool, list, now)
  if is_news then
    core.event("warn", "pool.undiscovered", {
      { "pool", pool.name }, { "uri", uri }, { "reason", why }, { "known", #list },
      { "left", math.floor(left) },
    })
  end
  if #stay < #list then
    found.list = stay
    merge(pool, true, now)
  elseif pool.waits then
    merge(pool, false, now)
  end
end

local function begin(pool)
  local wanted, is_known = {}, true
  pool.lookups, pool.settled = {}, true
  for i, uri in ipairs(pool.discover.names) do
    wanted[uri] = pool.roster.found[uri]
    is_known = is_known and wanted[uri] ~= nil
    pool.lookups[i] = lookup.start(uri, function(list, is_news, now)
      on_found(pool, uri, list, is_news, now)
    end, function(why, is_news, now)
      on_lost(pool, uri, why, is_news, now)
    end)
  end
  pool.roster.found = wanted
  -- A reload may have changed names and limits. Who goes is not known before there is
  -- something of a new name, or nothing.
  pool.waits = #pool.roster.list > 0 and not is_known
  if #pool.roster.list > 0 and is_known then
    core.spawn(function()
      merge(pool, false, core.now())
    end)
  end
end

local function each(act, ...)
  for _, pool in ipairs(registry.pools) do
    if pool.discover then
      act(pool, ...)
    end
  end
end

-- What the generation before knew; in every worker, before anything else.
function discover.load()
  each(roster.load)
end

-- In worker 0.
function discover.start()
  each(begin)
end

local function tend(pool, now)
  for _, item in ipairs(pool.lookups) do
    lookup.tend(item, now)
  end
  if pool.settled then
    arm_sweep(pool)
  else -- memory ran out on the way
    merge(pool, false, now)
  end
end

---@param now number
function discover.tend(now)
  each(tend, now)
end

local function stop(pool)
  for _, item in ipairs(pool.lookups or {}) do
    lookup.stop(item)
  end
  if pool.sweeping then
    pool.sweeping:cancel()
  end
end

function discover.stop()
  each(stop)
end

return discover
