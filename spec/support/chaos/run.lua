-- One seed: builds its network, lets calls and faults happen, shows the checkers all of
-- it, heals everything, and looks at what is left.
local answers = require "support.chaos.answers"
local faults = require "support.chaos.faults"
local forwarding = require "support.chaos.forwarding"
local model = require "support.chaos.model"
local plan = require "support.chaos.plan"
local policies = require "support.chaos.policies"
local safety = require "support.chaos.safety"
local sim = require "tandem.sim"
local timers = require "support.chaos.timers"
local trace = require "support.chaos.trace"
local traffic = require "support.chaos.traffic"
local collectgarbage, error, ipairs, math = collectgarbage, error, ipairs, math
local next, pcall = next, pcall
local setmetatable, table, tostring = setmetatable, table, tostring

local _ENV = nil

local run = {}

local methods = {}
methods.__index = methods

local slice = 0.5 -- seconds between two looks at what happened
local quiet = 300 -- seconds after the last fault: Timer C and 64*T1, and some more

local stranger = "198.51.100.9"
local strangers = { [stranger .. ":5060"] = true }

-- ---- the network ---------------------------------------------------------

local function network(self)
  local p = self.plan
  local opts = {
    seed = p.seed, workers = p.workers, link = p.link, dns = p.dns, addr = p.nodes[1],
    key = self.key, name = "proxy1",
  }
  if p.example then
    opts.script, opts.files = p.example.name, nil
  else
    opts.source = policies.source(p.policy, p, 1)
  end
  local net = sim.new(opts)
  for i = 2, #p.nodes do
    net:node { addr = p.nodes[i], key = opts.key, name = "proxy" .. i }
  end
  self.net, self.nodes = net, net.nodes
end

local function endpoints(self)
  local net, p = self.net, self.plan
  self.servers, self.phones = {}, {}
  for i, server in ipairs(p.servers) do
    self.servers[i] = net:uas(server.addr, { name = server.name, proxy = p.nodes[1][1] })
  end
  for i, phone in ipairs(p.phones) do
    local node = p.nodes[p.layout == "cluster" and i % #p.nodes + 1 or 1]
    self.phones[i] = net:uac(phone.addr, {
      name = phone.name, private = phone.private, proxy = node[1],
    })
  end
  self.stranger = net:uac(stranger, "stranger")
end

local function microseconds(seconds)
  return math.floor(seconds * 1e6)
end

local function checkers(self)
  local p, policy = self.plan, self.plan.policy
  local edited = { ["x-generation"] = true }
  for _, name in ipairs(policy.edited or {}) do
    edited[name] = true
  end
  if policy.pool and policy.pool:find "path" or p.example then
    edited.supported = true
  end
  self.trace = trace.new(self.net.world, edited)
  self.model = self.trace:add(model.new(self.trace, strangers))
  for i, node in ipairs(self.nodes) do
    local ips = table.move(p.nodes[i], 1, #p.nodes[i], 1, { p.vip })
    self.model:add_node(node.id, node.machine, ips)
  end
  local shared = policy.shares and {} or nil
  for _, server in ipairs(p.servers) do
    if shared then
      shared[server.ip .. ":5060"] = true
    end
  end
  local named = nil
  for _, server in ipairs(p.servers) do
    if server.host ~= server.ip then
      named = named or {}
    end
  end
  for _, server in ipairs(named and p.servers or {}) do
    named[server.ip] = true
  end
  local opts = {
    named = named, forks = policy.forks, attempts = (policy.attempts or 3) * 2,
    patience = microseconds(policy.patience or 4), late = policy.late or "bye",
    own_503 = policy.own_503, own_choice = policy.own_choice, shared = shared,
    rewrites = policy.rewrites,
    decoys = faults.decoys, strangers = strangers,
    failing = "^sip:fail%-", errors = {
      "chaos: on purpose", "instructions", "memory", "ended without a verb",
    },
  }
  self.trace:add(timers.new(self.trace, self.model, opts))
  self.trace:add(answers.new(self.trace, self.model, opts))
  self.trace:add(forwarding.new(self.trace, self.model, opts))
  self.trace:add(safety.new(self.trace, self.model, opts))
end

-- opts: calls, span.
---@param seed integer
---@param opts table?
function run.new(seed, opts)
  local self = setmetatable({
    plan = plan.new(seed, faults.kinds, opts), generation = 1, key = "0123456789abcdef",
  }, methods)
  network(self)
  endpoints(self)
  checkers(self)
  self.traffic = traffic.new(self.net, self.plan, self.phones, self.servers)
  self.faults = faults.new(self)
  return self
end

-- ---- proxies come and go -------------------------------------------------

function methods:later(seconds, fn)
  self.faults:at(self.net.now + seconds, fn)
end

-- A proxy ends as `how` says; in a pair the other one takes the address. Gives how it
-- is brought back.
function methods:down(node, how)
  local holder = self.plan.layout == "pair" and self.nodes[self.holder or 1] == node
  self.model.lives[node.id].stopping = how == "stop"
  node[how](node)
  self.trace:follow()
  self.model:begin(node.id, false)
  if holder then
    self:later(self.rnd:between(0, 4), function() self:move_vip(3 - (self.holder or 1)) end)
  end
  return function()
    if node.workers == 0 then
      node:start()
      self.model:begin(node.id)
    end
  end
end

-- To the other one of a pair, or to that one.
function methods:move_vip(to)
  local from = self.holder or 1
  to = to or 3 - from
  if to == from then
    return
  end
  self.nodes[from]:drop(self.plan.vip)
  self.nodes[to]:take(self.plan.vip)
  self.holder, self.split = to, nil
  self.model.moved = self.trace.now
end

-- Both of a pair have it, as opts of net:split say; and only its holder again.
function methods:split_vip(opts)
  self.net:split(self.plan.vip, self.nodes, opts)
  self.split = true
  self.model.moved = self.trace.now
end

function methods:unite_vip()
  if self.split then
    self.nodes[self.holder or 1]:take(self.plan.vip)
    self.split = nil
    self.model.moved = self.trace.now
  end
end

-- These keys are in the file, of each node, from now on. False: not now, since what reads
-- them might lack the memory.
---@param keys string[]
---@return boolean
function methods:use_keys(keys)
  for _, node in ipairs(self.nodes) do
    if self.model.lives[node.id].impaired then
      return false
    end
  end
  for _, node in ipairs(self.nodes) do
    if node.workers > 0 then
      local ok, why = node:reload { key = keys }
      if not ok then
        self.trace:violate("I23", "a key was not taken: " .. tostring(why))
      end
    else
      node.opts.key = keys
    end
  end
  self.keys = keys
  return true
end

function methods:swap_keys()
  if self:use_keys { self.keys[2], self.keys[1] } then
    self.model.signed = self.trace.now
  elseif not self.heals then -- then nobody ever signs with it, which is as good
    self:later(1, function() self:swap_keys() end)
  end
end

-- ---- time ----------------------------------------------------------------

-- An endpoint that is sent where it cannot go says so by an error. That is its own affair.
local function is_endpoint_error(why)
  return why:find "has no %a+ socket to reach" or why:find "^no address for"
end

local function advance(self, until_time)
  repeat
    local ok, why = pcall(self.net.run, self.net, math.max(until_time - self.net.now, 0))
    if not ok and not is_endpoint_error(why) then
      error(why, 0)
    end
  until ok
  self.trace:follow()
end

local function live(self)
  local stop = math.ceil(self.plan.span) + 5
  while self.net.now < stop and #self.trace.violations == 0 do
    local fault = self.faults:next_time() or math.huge
    advance(self, math.min(stop, self.net.now + slice, math.max(fault, self.net.now)))
    while self.faults:next_time() and self.faults:next_time() <= self.net.now do
      self.faults:happen()
      self.trace:follow()
    end
  end
end

local function heal(self)
  self.heals = true
  self.faults:heal()
  local net, p = self.net, self.plan
  net:heal()
  net:resolver "ok"
  for name, records in next, p.dns do
    net:dns(name, records)
  end
  for _, list in ipairs { self.servers, self.phones } do
    for _, at in ipairs(list) do
      at.says, at.forgets, at.deaf = nil, nil, nil
      at:resume()
      at:reset()
      for _, node in ipairs(self.nodes) do
        net:link(at, node, { cut = 0, chunk = 0, loss = 0, duplicate = 0 })
      end
    end
  end
  for _, node in ipairs(self.nodes) do
    if node.workers == 0 then
      node:start()
      self.model:begin(node.id)
    end
  end
  for _, node in ipairs(self.plan.example and {} or self.nodes) do
    for _, server in ipairs(p.servers) do
      node:ask("order", { pool = "pbx", server = server.name, admin = "ready", who = "ctl root" })
    end
  end
  self.trace:follow()
end

local function settle(self)
  local stop = math.ceil(self.net.now) + quiet
  while self.net.now < stop and #self.trace.violations == 0 do
    advance(self, self.net.now + 5)
  end
end

-- ---- at the end ----------------------------------------------------------

-- I26: every INVITE that a proxy has taken and lived to answer has a final. (Who had a 100
-- from one that died since may wait for ever: that is the commit point of semantics 11.)
local function check_calls(self)
  for _, node in ipairs(self.nodes) do
    for _, st in next, self.model.lives[node.id].servers do
      local had_memory = not st.impaired and (st.life.impaired_at or -1) < st.time
      local is_due = had_memory and not st.unanswered and not st.stateless and not st.refused
      if st.method == "INVITE" and not st.done and is_due and not strangers[st.source]
        and not self.model:is_out_of_reach(st) then
        self.trace:violate("I26", ("no final to the INVITE of %s at %.3f s"):format(st.source,
          st.time / 1e6), st.m.call_id)
      end
    end
  end
end

-- I17: who is well again takes calls again, at each proxy.
local function check_servers(self)
  for i, node in ipairs(self.plan.example and {} or self.nodes) do
    for _, server in ipairs(self.plan.servers) do
      local status = node.pools.pbx[server.name].status
      if status ~= "up" and status ~= "held" then -- a failback hold may last
        self.trace:violate("I17", ("server %s is %s at proxy %d, %d s after everything healed")
          :format(server.name, status, i, quiet))
      end
    end
  end
end

-- And a new call works, through each proxy.
local function check_fresh(self)
  local p = self.plan
  self.traffic.lives.fresh = { any = { code = 200, after = 0.1 } }
  for _, server in ipairs(self.servers) do
    self.traffic.lives.fresh[server.name] = { code = 200, after = 0.1 }
  end
  for i, node in ipairs(self.nodes) do
    local to = p.layout == "pair" and p.vip or node.ip
    local call = self.phones[1]:invite("sip:fresh@example.com", { proxy = to })
    self.net:run_until(function() return call.done end, 60)
    self.trace:follow()
    if call.code ~= 200 then
      self.trace:violate("I26", ("a new call through proxy %d fails: %s"):format(i,
        tostring(call.code or call.error)), call.id)
    else
      self.phones[1]:bye(call)
    end
    advance(self, self.net.now + 5)
    if p.layout == "pair" then
      self:move_vip()
    end
  end
end

local function errors(self)
  local sum = 0
  for _, node in ipairs(self.nodes) do
    sum = sum + node:errors()
  end
  return sum
end

-- I21, I26
local function check_end(self)
  check_calls(self)
  check_servers(self)
  if #self.trace.violations == 0 then
    check_fresh(self)
  end
  advance(self, self.net.now + 40)
end

-- ---- all of it -----------------------------------------------------------

local function ladder(self, violation)
  if violation.call_id then
    return self.net:ladder { call = violation.call_id }
  end
  return ""
end

local function result(self, ok, why)
  local world = self.net.world
  local outcomes = {}
  self.traffic:count(outcomes)
  local out = {
    seed = self.plan.seed, calls = #self.traffic.calls, outcomes = outcomes,
    faults = self.faults.count, packets = world:packets(), notes = world:notes(),
    seconds = self.net.now, hash = world:hash(), plan = self.plan,
    violations = self.trace.violations, policy = self.plan.policy.name,
    memory = collectgarbage "count" * 1024,
  }
  if not ok then
    table.insert(out.violations, 1, { invariant = "error", text = why, time = self.trace.now,
      note = self.trace.seen })
  end
  for _, violation in ipairs(out.violations) do
    violation.ladder = ladder(self, violation)
  end
  return out
end

-- Runs a seed. The result has `violations`: invariant, text, time (microseconds), note,
-- packet, ladder.
---@param seed integer
---@param opts table?
function run.seed(seed, opts)
  local self = run.new(seed, opts)
  local ok, why = pcall(function()
    self.traffic:start()
    live(self)
    heal(self)
    settle(self)
    if #self.trace.violations == 0 then
      check_end(self)
    end
  end)
  ok, why = ok and not self.traffic.trouble, why or self.traffic.trouble
  local out = result(self, ok, why)
  if #out.violations > 0 then
    self.net.world:close()
    self.net.finished = true
    return out
  end
  ok, why = pcall(self.net.finish, self.net, { errors = errors(self) })
  if not ok then
    table.insert(out.violations, {
      invariant = "I21", text = why, time = self.trace.now, ladder = "", note = self.trace.seen,
    })
  end
  return out
end

return run
