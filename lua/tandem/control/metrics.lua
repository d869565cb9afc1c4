-- What is shown at /metrics: raw numbers of the workers (measure.lua) and of the host
-- become samples, and those a text in the format 0.0.4 of Prometheus. Plain Lua.
local catalog = require "tandem.control.catalog"
local ipairs, math, pairs, table = ipairs, math, pairs, table
local utf8 = utf8

local _ENV = nil

local metrics = {}

metrics.content_type = "text/plain; version=0.0.4; charset=utf-8"

-- ---- text ----------------------------------------------------------------

-- Whatever bytes a script has given: UTF-8 without control characters, since one bad
-- value would cost Prometheus the whole page.
---@param text string
---@return string
local function clean(text)
  local length, bad = utf8.len(text)
  while not length do
    text = text:sub(1, bad - 1) .. "\u{FFFD}" .. text:sub(bad + 1)
    length, bad = utf8.len(text, bad + 3)
  end
  return (text:gsub("[%z\1-\9\11-\31\127]", "\u{FFFD}"))
end

local label_escapes = { ["\\"] = "\\\\", ["\""] = "\\\"", ["\n"] = "\\n" }

-- JSON knows no integers, and 3.0 is 3.
---@param value number
---@return string
local function number(value)
  if value ~= value then
    return "NaN"
  elseif value == math.huge or value == -math.huge then
    return value > 0 and "+Inf" or "-Inf"
  end
  local whole = math.tointeger(value)
  return whole and ("%d"):format(whole) or ("%.15g"):format(value)
end

-- The value of a label, quoted.
---@param value string|number
---@return string
function metrics.quote(value)
  value = math.type(value) and number(value) or value
  return '"' .. clean(value):gsub('[\\"\n]', label_escapes) .. '"'
end

-- { "pool", "a", "server", "b" } as pool="a",server="b".
local function labels_of(pairs_list)
  local parts = {}
  for i = 1, #pairs_list, 2 do
    parts[#parts + 1] = pairs_list[i] .. "=" .. metrics.quote(pairs_list[i + 1])
  end
  return table.concat(parts, ",")
end

-- The core's own way to write them, "a=x,b=y", whose values are plain words.
local function from_core(text)
  return (text:gsub("([%w_]+)=([^,]*)", '%1="%2"'))
end

-- ---- samples -------------------------------------------------------------

-- Adds to a sample; equal ones of several workers become their sum.
local function add(families, name, suffix, labels, value)
  local family = families[name]
  if not family then
    family = { list = {}, by_key = {} }
    families[name] = family
  end
  local key = suffix .. "{" .. labels
  local sample = family.by_key[key]
  if not sample then
    sample = { suffix = suffix, labels = labels, value = 0 }
    family.by_key[key] = sample
    family.list[#family.list + 1] = sample
  end
  sample.value = sample.value + value
end

local function add_histogram(families, histogram, bounds)
  local labels, sum = from_core(histogram.labels), 0
  for i, n in ipairs(histogram.counts) do
    local le = 'le="' .. (bounds[i] and number(bounds[i]) or "+Inf") .. '"'
    sum = sum + n
    add(families, histogram.name, "_bucket", labels == "" and le or labels .. "," .. le, sum)
  end
  add(families, histogram.name, "_sum", labels, histogram.sum)
  add(families, histogram.name, "_count", labels, sum)
end

-- What a counter of a script is called outside.
---@param name string
---@return string
function metrics.user_name(name)
  return "tandem_user_" .. name:gsub("_total$", "") .. "_total"
end

local function add_user(families, counter)
  local name = metrics.user_name(counter.name)
  add(families, name, "", counter.labels and clean(counter.labels) or "", counter.value)
  local family = families[name]
  family.type = "counter"
  if counter.help ~= "" then
    family.help = family.help or counter.help
  end
end

-- Gauges of a worker: name, whether each worker has its own, and a label of its own.
local alive = {
  { "servers", "tandem_transactions", 'role="server"' },
  { "clients", "tandem_transactions", 'role="client"' },
  { "requests", "tandem_requests_open", "" },
  { "flows", "tandem_connections_open", "" },
  { "overloaded", "tandem_overloaded", "" },
  { "lua_bytes", "tandem_lua_memory_bytes" },
  { "bytes", "tandem_core_memory_bytes" },
}

local function add_worker(families, worker)
  for _, row in ipairs(worker.counters or {}) do
    add(families, row[1], "", from_core(row[2]), row[3])
  end
  for _, histogram in ipairs(worker.histograms or {}) do
    add_histogram(families, histogram, worker.bounds or {})
  end
  for _, counter in ipairs(worker.user or {}) do
    add_user(families, counter)
  end
  for _, row in ipairs(worker.alive and alive or {}) do
    local labels = row[3] or labels_of { "worker", worker.worker }
    add(families, row[2], "", labels, worker.alive[row[1]] or 0)
  end
end

local function add_pool(families, pool)
  local labels = labels_of { "pool", pool.pool }
  for _, row in ipairs {
    { "active_tier", pool.tier }, { "usable_servers", pool.usable }, { "servers", pool.servers },
    { "failovers_total", pool.failovers }, { "retries_total", pool.retries },
    { "last_resort_total", pool.last_resort },
  } do
    add(families, "tandem_pool_" .. row[1], "", labels, row[2])
  end
end

local statuses = { "up", "held", "down", "drain", "maint" }
local stats = {
  { "tandem_server_attempts_total", "outcome",
    { "ok", "rejected", "503", "timeout", "transport", "cancelled" }, "" },
  { "tandem_server_checks_total", "result", { "ok", "failed" }, "check_" },
  { "tandem_server_transitions_total", "to", { "unknown", "up", "falling", "down", "rising" },
    "to_" },
}

local function add_server(families, server)
  local labels = labels_of { "pool", server.pool, "server", server.server }
  for _, status in ipairs(statuses) do
    add(families, "tandem_server_status", "", labels .. ',status="' .. status .. '"',
      status == server.status and 1 or 0)
  end
  for _, row in ipairs {
    { "tandem_calls", server.calls }, { "tandem_server_tier", server.tier },
    { "tandem_server_weight", server.weight },
    { "tandem_server_inflight_requests", server.inflight },
    { "tandem_server_calls_in_setup", server.setup },
    { "tandem_server_down_seconds_total", server.stats.down },
  } do
    add(families, row[1], "", labels, row[2])
  end
  -- Without a limit there is no such series, nor without an answer.
  if server.latency > 0 then
    add(families, "tandem_server_latency_seconds", "", labels, server.latency)
  end
  if server.max_calls then
    add(families, "tandem_server_call_limit", "", labels, server.max_calls)
  end
  if server.max_cps then
    add(families, "tandem_server_rate_limit", "", labels, server.max_cps)
  end
  for _, row in ipairs(stats) do
    for _, word in ipairs(row[3]) do
      add(families, row[1], "", labels .. "," .. row[2] .. '="' .. word .. '"',
        server.stats[row[4] .. word])
    end
  end
end

local function add_facts(families, facts)
  for _, row in ipairs(facts) do
    add(families, row[1], "", row[2] and labels_of(row[2]) or "", row[3])
  end
end

-- Everything as samples, by the name of their metric.
---@param sources { workers: table[], pools: table[]?, servers: table[]?, facts: table[]? }
---  what each worker answers to "metrics"; what worker 0 answers to "metrics.servers", all
---  pages together; and what the host knows: { name, { label, value, ... }|nil, number }
---@return table<string, { list: { suffix: string, labels: string, value: number }[] }> families
function metrics.collect(sources)
  local families = {}
  for _, worker in ipairs(sources.workers) do
    add_worker(families, worker)
  end
  for _, pool in ipairs(sources.pools or {}) do
    add_pool(families, pool)
  end
  for _, server in ipairs(sources.servers or {}) do
    add_server(families, server)
  end
  add_facts(families, sources.facts or {})
  return families
end

local function append(list, more)
  for _, item in ipairs(more or {}) do
    list[#list + 1] = item
  end
end

-- All pages of "metrics.servers", or of "metrics.user", as one.
---@param ask fun(args: table): table?, string? a page, or why there is none
---@return { pools: table[], servers: table[], user: table[] }?
---@return string? why
function metrics.pages(ask)
  local all, from = { pools = {}, servers = {}, user = {} }, 1
  while from do
    local page, why = ask { from = from }
    if not page then
      return nil, why
    end
    append(all.pools, page.pools)
    append(all.servers, page.servers)
    append(all.user, page.user)
    from = page.next
  end
  return all
end

-- ---- the page ------------------------------------------------------------

local function write_family(lines, name, entry, family)
  lines[#lines + 1] = "# HELP " .. name .. " "
    .. clean(entry.help):gsub("[\\\n]", { ["\\"] = "\\\\", ["\n"] = "\\n" })
  lines[#lines + 1] = "# TYPE " .. name .. " " .. entry.type
  for _, sample in ipairs(family.list) do
    local labels = sample.labels ~= "" and "{" .. sample.labels .. "}" or ""
    lines[#lines + 1] = name .. sample.suffix .. labels .. " " .. number(sample.value)
  end
end

-- Those that are not in the catalog, by name: the counters of scripts.
local function others(families)
  local names = {}
  for name in pairs(families) do
    if not catalog.by_name[name] then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return names
end

---@param sources table as for metrics.collect
---@return string text
function metrics.text(sources)
  local families, lines = metrics.collect(sources), {}
  for _, entry in ipairs(catalog.list) do
    if families[entry.name] then
      write_family(lines, entry.name, entry, families[entry.name])
    end
  end
  for _, name in ipairs(others(families)) do
    local family = families[name]
    write_family(lines, name, {
      type = family.type or "untyped", help = family.help or "A counter of the script.",
    }, family)
  end
  lines[#lines + 1] = ""
  return table.concat(lines, "\n")
end

-- The sum of the samples of a name whose labels are as wanted, nil when there is no such
-- metric: for specs. A histogram has the names NAME_bucket, NAME_sum and NAME_count.
---@param families table
---@param name string
---@param wanted? table<string, string|number>
---@return number?
function metrics.sum(families, name, wanted)
  local plain, suffix = name, ""
  for _, ending in ipairs { "_bucket", "_sum", "_count" } do
    local stem = name:sub(1, -#ending - 1)
    local entry = name:sub(-#ending) == ending and catalog.by_name[stem]
    if entry and entry.type == "histogram" then
      plain, suffix = stem, ending
    end
  end
  local family = families[plain]
  if not family then
    return catalog.by_name[plain] and 0 or nil
  end
  local sum = 0
  for _, sample in ipairs(family.list) do
    local fits, text = sample.suffix == suffix, "," .. sample.labels .. ","
    for label, value in pairs(wanted or {}) do
      fits = fits and text:find("," .. label .. "=" .. metrics.quote(value) .. ",", 1, true)
    end
    sum = fits and sum + sample.value or sum
  end
  return sum
end

return metrics
