-- The scripts that run under chaos: what users write (examples), and what else the
-- verbs can do. For each what the checkers have to know about it.
local ipairs, table = ipairs, table

local _ENV = nil

local policies = {}

-- What every one of our own does before its handler decides: it fails on purpose for some
-- users, and says which generation it is.
local frame = [[
local sip = require "tandem"
local generation = "@generation@"
sip.listen { @listen@ }
sip.settings {
  trust = { "10.0.0.0/24" }, domains = { "example.com" }, late_answer = "@late@", @settings@
}
local pbx = sip.pool("pbx", { @servers@, check = { interval = @interval@ }, @pool@ })
local function spin() while true do end end
local function grow() local t = {} for i = 1, 1e9 do t[i] = ("x"):rep(4000) .. i end end
local failures = {
  err = function() error "chaos: on purpose" end,
  pcall = function() pcall(spin) end,
  mem = function() pcall(grow) end,
  none = function() return "nothing" end,
}
local function fails(req)
  local how = failures[req.ruri.user and req.ruri.user:match "^fail%-(%l+)" or ""]
  if how then how() end
  return how ~= nil
end
sip.on("server.health", function() end)
sip.every(5, function() sip.shared("chaos"):incr("ticks", 1) end)
sip.route(function(req)
  req:set_header("X-Generation", generation)
  if fails(req) then return end
@handler@
end)
@after@
]]

-- attempts: most client transactions that one request may have; patience: how long the
-- shortest attempt may take, microseconds; forks, spirals, late: as in the checkers.
policies.list = {
  { name = "relay", handler = "return req:relay(pbx)" },
  { name = "relay quickly", handler = "return req:relay(pbx, { timeout = 1, attempts = 3 })",
    patience = 1, pool = "passive = { fall = 2, hold = 3 }," },
  { name = "relay by count",
    handler = "return req:relay(pbx, { retransmits = 2, last_timeout = 8, attempts = 3 })",
    patience = 3.5 },
  { name = "try in a loop", patience = 2, handler = [[
  for server in pbx:each(req) do
    local res, err = req:try(server, { timeout = 2 })
    if err == "cancelled" then return end
    if res and res.code ~= 503 then return res:forward() end
    if res and res.retry_after then server:hold(math.min(res.retry_after, 60)) end
  end
  return req:reply(500, "No PBX available")]], attempts = 8 },
  { name = "fork", forks = true, patience = 6, handler = [[
  local all = {}
  for server in pbx:each(req) do all[#all + 1] = server end
  if #all == 0 then return req:reply(500) end
  local res, err = req:fork(all, { timeout = 6 })
  if err == "cancelled" then return end
  if not res then return req:reply(500) end
  return res:forward()]], attempts = 8 },
  { name = "fork, then try", forks = true, own_choice = true, patience = 2, handler = [[
  local two = {}
  for server in pbx:each(req) do
    if #two < 2 then two[#two + 1] = server end
  end
  local res, err = nil, nil
  if #two > 0 then
    res, err = req:fork(two, { timeout = 2, ring_timeout = 15 })
    if err == "cancelled" then return end
    if res and res.code < 400 then return res:forward() end
  end
  local last
  for server in pbx:each(req) do last = server end
  if last then res, err = req:try(last, { timeout = 3 }) end
  if err == "cancelled" then return end
  if res then return res:forward() end
  return req:reply(500)]], attempts = 12 },
  { name = "hash", handler = "return req:relay(pbx, { key = req.from.user })",
    pool = 'policy = "hash",' },
  { name = "least calls", handler = "return req:relay(pbx)", pool = 'policy = "least_calls",' },
  { name = "weighted", handler = "return req:relay(pbx)",
    pool = 'policy = "weighted", slow_start = 20,' },
  { name = "round robin", handler = "return req:relay(pbx)", pool = 'policy = "round_robin",' },
  { name = "latency", handler = "return req:relay(pbx)", pool = 'policy = "latency",' },
  { name = "path", handler = "return req:relay(pbx)", pool = 'path = "always",' },
  { name = "shared dialogs", handler = "return req:relay(pbx)",
    pool = "shared_dialogs = true,", shares = true },
  { name = "limits", handler = [[
  local ok, why = req:relay(pbx, { attempts = 2, timeout = 3 })
  if ok then return end
  return req:reply(503, "Busy", { headers = { ["Retry-After"] = "2", ["X-Why"] = why } })]],
    max_calls = 40, own_503 = true, patience = 3 },
  { name = "on_response", edited = { "x-seen" }, handler = [[
  return req:relay(pbx, { on_response = function(res) res:set_header("X-Seen", res.code) end })]] },
  { name = "rewrite", rewrites = true, handler = "return req:relay(pbx)", rewrite = "host" },
  { name = "late answers", late = "forward", patience = 1,
    handler = "return req:relay(pbx, { timeout = 1, last_timeout = 2 })" },
  { name = "hold nothing", patience = 4, pool = [[
    passive = { fall = 2, hold = 3 }, failback = { hold = 5 }, all_down = "fail",]], handler = [[
  local ok = req:relay(pbx, { attempts = 3 })
  if not ok then return req:reply(500) end]] },
}

-- Those of users, as they are.
policies.examples = {
  { name = "examples/relay.lua", servers = { "10.0.0.1", "10.0.0.2" } },
  { name = "examples/aor.lua", servers = { "10.0.0.1", "10.0.0.2", "10.0.0.3" } },
  { name = "examples/register.lua", servers = { "10.0.0.1", "10.0.0.2" } },
  { name = "examples/balance.lua", servers = { "10.0.1.1", "10.0.1.2" }, own_503 = true,
    patience = 3, invites_only = true },
}

local function server_line(server, policy)
  local options = {}
  if policy.max_calls then
    options[#options + 1] = ("max_calls = %d"):format(policy.max_calls)
  end
  if policy.rewrite then
    options[#options + 1] = ("rewrite = %q"):format(policy.rewrite)
  end
  options[#options + 1] = ("tier = %d"):format(server.tier)
  options[#options + 1] = ("weight = %d"):format(server.weight)
  return ('{ name = "%s", uri = "%s", %s }'):format(server.name, server.uri,
    table.concat(options, ", "))
end

-- The text of a script.
---@param policy table
---@param plan table
---@param generation integer
function policies.source(policy, plan, generation)
  local servers = {}
  for i, server in ipairs(plan.servers) do
    servers[i] = server_line(server, policy)
  end
  local pool = "servers = { " .. table.concat(servers, ", ") .. " }"
  if plan.discover then
    pool = ('discover = { "sip:%s" }'):format(plan.discover)
  end
  local values = {
    generation = ("%d"):format(generation), listen = plan.listen,
    late = policy.late or "bye", settings = plan.settings, servers = pool,
    interval = ("%g"):format(plan.interval), pool = (policy.pool or ""),
    handler = policy.handler, after = policy.after or "",
  }
  return (frame:gsub("@(%l+)@", values))
end

return policies
