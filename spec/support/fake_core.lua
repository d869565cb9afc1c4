-- A tandem.core for unit specs of the Lua half: no C, a clock that stands still
-- until it is told to move, and servers that do what a spec says.
--
--   local world = fake.new()
--   local sip = world:require "tandem"       -- fresh modules, phase "load"
--   world:start()                            -- phase "run", checks begin
--   world:server("pbx/a", "INVITE", "silent")
--   world:server("pbx/a@10.0.0.1:5060", "OPTIONS", 503) -- one address of several
--   world:run(5)
--   local req = world:request { method = "INVITE" }
--   local ok, why = world:call(function() return req:relay(pool) end)
--
-- A second worker of the same node: fake.new { worker = 1, beside = world }.
local cjson = require "cjson"

local fake = {}

local fact_names = {}
for name in ([[health admin hold_until failback_until trial since up_since returned streak falls
  inflight setup calls latency failures left]]):gmatch "%S+" do
  fact_names[name] = true
end

-- ---- the clock and tasks ----

local Node = {}
Node.__index = Node

local function new_node()
  return setmetatable({
    now = 0, queue = {}, serial = 0, facts = {}, shared = {}, sticky = {}, servers = {},
    worlds = {}, checks = {}, dumps = {}, homes = {}, changes = 0,
    observed = {}, files = {},
  }, Node)
end

-- Runs fn at a time; entries of the same time run in the order they were made.
function Node:at(time, fn)
  self.serial = self.serial + 1
  local entry = { time = time, serial = self.serial, fn = fn }
  table.insert(self.queue, entry)
  return entry
end

function Node:pop(until_time)
  local best
  for i, entry in ipairs(self.queue) do
    local first = self.queue[best]
    if entry.time <= until_time and (not first or entry.time < first.time
      or (entry.time == first.time and entry.serial < first.serial)) then
      best = i
    end
  end
  return best and table.remove(self.queue, best)
end

function Node:run_to(time)
  for _ = 1, 1e6 do
    local entry = self:pop(time)
    if not entry then
      self.now = math.max(self.now, time)
      return
    end
    self.now = math.max(self.now, entry.time)
    if not entry.cancelled then
      entry.fn()
    end
  end
  error "the clock does not get on: something repeats itself at once"
end

local join -- below

local World = {}
World.__index = World

local function step(world, task, ...)
  if task.done then
    return -- cancelled
  end
  local result = table.pack(coroutine.resume(task.co, ...))
  if not result[1] then
    task.failed = result[2]
    local message = debug.traceback(task.co, tostring(result[2]))
    if not task.expects_error then
      table.insert(world.errors, message)
    end
    coroutine.close(task.co) -- runs pending to-be-closed variables
  end
  if coroutine.status(task.co) == "dead" then
    task.done, task.result = true, result
    for _, wake in ipairs(task.waiters) do
      wake(table.unpack(result, 2, result.n))
    end
    return
  end
  local register = result[2]
  register(function(...)
    local values = table.pack(...)
    world.node:at(world.node.now, function()
      step(world, task, table.unpack(values, 1, values.n))
    end)
  end)
end

-- Waits in a task: register(wake) is called, and wake(...) ends the wait.
local function suspend(register)
  assert(coroutine.isyieldable(), "this waits; use world:call")
  return coroutine.yield(register)
end

function World:task(fn)
  local task = { co = coroutine.create(fn), waiters = {} }
  self.node:at(self.node.now, function()
    step(self, task)
  end)
  function task.cancel()
    if not task.done then
      coroutine.close(task.co)
      task.done, task.result = true, { false, nil, "failed", n = 3 }
      for _, wake in ipairs(task.waiters) do
        wake(nil, "failed")
      end
    end
  end
  function task.wait()
    if not task.done then
      return suspend(function(wake)
        table.insert(task.waiters, wake)
      end)
    end
    return table.unpack(task.result, 2, task.result.n)
  end
  return task
end

-- Runs fn in a task and the clock until it has ended; raises what it raises.
function World:call(fn)
  local task = self:task(fn)
  task.expects_error = true
  for _ = 1, 1e5 do
    if task.done then
      break
    end
    local entry = assert(self.node:pop(math.huge), "the task waits for nothing")
    self.node.now = math.max(self.node.now, entry.time)
    if not entry.cancelled then
      entry.fn()
    end
  end
  if task.failed then
    error(task.failed, 0)
  end
  return table.unpack(task.result, 2, task.result.n)
end

-- Lets so many seconds pass.
function World:run(seconds)
  self.node:run_to(self.node.now + seconds)
end

-- ---- facts ----

local Facts = {}
Facts.__index = Facts

local function checked(name)
  return assert(fact_names[name] and name, "there is no fact " .. tostring(name))
end

function Facts:get(name, ...)
  local value = self.values[checked(name)] or 0
  if ... then
    return value, self:get(...)
  end
  return value
end

local is_state = { health = true, admin = true, hold_until = true, failback_until = true,
  trial = true, returned = true, left = true }

function Facts:set(name, value)
  local before = self:get(name)
  self.values[checked(name)] = assert(math.tointeger(value), name .. ": not an integer")
  if is_state[name] and before ~= value then
    self.node.changes = self.node.changes + 1
  end
end

function Facts:add(name, n)
  self:set(name, self:get(name) + n)
  return self:get(name)
end

function Facts:took(us) -- as member_took()
  local before = self:get "latency"
  local way = math.max(us, 1) - before
  local eighth = (math.abs(way) + 7) // 8
  self:set("latency", before == 0 and way or before + (way < 0 and -eighth or eighth))
end

-- What is counted of it for metrics.
local stat_names = {}
for name in ([[ok rejected 503 timeout transport cancelled to_unknown to_up to_falling to_down
  to_rising check_ok check_failed down]]):gmatch "%S+" do
  stat_names[name] = true
end

function Facts:count(name, n)
  assert(stat_names[name], "there is no count " .. tostring(name))
  self.counts[name] = (self.counts[name] or 0) + (n or 1)
end

function Facts:stats()
  local stats = {}
  for name in pairs(stat_names) do
    stats[name] = self.counts[name] or 0
  end
  return stats
end

function Facts:name()
  return self.full
end

function Facts:leave()
  self.home.users, self.home.left = self.home.users - 1, self.node.now
end

function Facts:identify(name)
  self.identity = name
end

-- Where other workers had no answer.
function Facts:silent(addr)
  self.silences = self.silences or {}
  table.insert(self.silences, addr)
end

-- What worker 0's core knows of where the server is; `no_memory`: none for that.
function Facts:place(list)
  if self.no_memory then
    return false
  end
  self.places = list
  return true
end

-- The core counts inflight, setup and resources itself: so does the fake, for as
-- long as an attempt is open. The rate is what a spec sets it to.
function Facts:rate()
  return self.cps or 0
end

function Facts:used(resource)
  return self.resources[resource] or 0
end

local function count_open(method, targets, limits, sign)
  for _, target in ipairs(targets) do
    local facts = target.facts
    if facts then
      facts:add("inflight", sign)
      if method == "INVITE" then
        facts:add("setup", sign)
        for name, units in pairs(limits.resources or {}) do
          local used = facts.resources[name]
          facts.resources[name] = used and used + sign * units
        end
      end
    end
  end
end

-- ---- messages ----

local function response(world, spec)
  local res = setmetatable({}, {
    __index = function(self, key)
      if key == "server" then
        return rawget(self, "server_facts") and world.server_of(self.server_facts.full)
      end
      return world.core.Response[key]
    end,
  })
  for key, value in pairs(spec) do
    res[key] = value
  end
  return res
end

-- What a server does with a request: a code, "silent", "refuse", "hang" (100 and
-- nothing more), "ring" (until the ring timeout), { code =, after =, retry_after = }
-- or a function that gives one of these.
local function behaviour(node, full, method)
  local acts = node.servers[full] or {}
  local act = acts[method] or acts["*"] or 200
  return type(act) == "function" and act() or act
end

local function at_most(opts)
  if opts.retransmits then
    assert(not opts.timeout, "the core would ignore the timeout")
    return 0.5 * (2 ^ (opts.retransmits + 1) - 1)
  end
  return math.min(opts.timeout or 32, 32)
end

-- Seconds and outcome of one attempt.
local function outcome(world, full, method, opts)
  local act = behaviour(world.node, full, method)
  local facts = world.node.facts[full]
  if act == "silent" then
    return at_most(opts), nil, "timeout", { cause = "silent", address = full }
  elseif act == "refuse" then
    return 0.001, nil, "transport", { cause = "refused", address = full }
  elseif act == "no_source" or act == "too_big" then
    return 0, nil, "transport", { cause = act, address = full }
  elseif act == "hang" then
    return opts.progress_timeout, nil, "timeout",
      { cause = "no_progress", address = full, provisional = true }
  elseif act == "ring" then
    return opts.ring_timeout, response(world, { code = 408, is_local = true, server_facts = facts })
  end
  local spec = type(act) == "table" and act or { code = act }
  local after = spec.after or 0.01
  if after > at_most(opts) then
    return at_most(opts), nil, "timeout", { cause = "silent", address = full }
  end
  return after, response(world, {
    code = spec.code, retry_after = spec.retry_after, contacts = spec.contacts,
    server_facts = world.node.facts[spec.from or full],
  })
end

-- What the core reports of each branch that has ended; not of cancelled ones, and
-- not of the one during which another server's late answer came.
local function tell_attempts(world, ends, took, err)
  for _, attempt in ipairs(ends) do
    local time, facts, res, detail = table.unpack(attempt, 1, 4)
    local is_own = not res or res.server_facts == facts
    if err ~= "cancelled" and time <= took and is_own then
      local code = res and not res.is_local and res.code or nil
      local cause = not code and (detail and detail.cause or "none") or nil
      world.on_attempt(facts, code, cause, time)
    end
  end
end

local function request_methods(world)
  local Request = {}

  function Request:_try(targets, opts)
    assert(not self.trying, "one try at a time")
    assert(not self.verb, "a try after a verb")
    self.trying = true
    targets = targets[1] and targets or { targets } -- one needs no list
    table.insert(self.attempts, { at = world.node.now, targets = targets, opts = opts })
    local took, res, err, detail = math.huge, nil, "cancelled", nil
    local ends = {}
    for _, target in ipairs(targets) do
      local full = target.facts and target.facts.full or target.uri
      table.insert(self.tried, full)
      local t, r, e, d = outcome(world, full, self.method, opts)
      table.insert(ends, { t, target.facts, r, d })
      local better = (r and not res) or ((r ~= nil) == (res ~= nil) and t < took)
      if better or took == math.huge then
        took, res, err, detail = t, r, e, d
      end
    end
    local now = world.node.now
    if self.cancel_at and now + took >= self.cancel_at then
      took, res, err, detail = math.max(self.cancel_at - now, 0), nil, "cancelled", nil
    end
    count_open(self.method, targets, opts, 1)
    suspend(function(wake)
      world.node:at(now + took, function()
        count_open(self.method, targets, opts, -1)
        tell_attempts(world, ends, took, err)
        wake()
      end)
    end)
    self.trying = false
    self.final = res and res.code < 300 and res or self.final
    return res, err, detail
  end

  local function verb(self, what)
    assert(not self.verb, "a second verb")
    self.verb = what
  end

  function Request:_goes_on(facts)
    local pool, trial = facts.full:match "^[^/]+/", facts:get "trial"
    for _, full in ipairs(self.went_on and {} or self.tried) do
      if full ~= facts.full and full:sub(1, #pool) == pool then
        self.went_on = true
        return true, trial
      end
    end
    return false, trial
  end

  function Request._may_reach(_, uri)
    return not uri:find "@forbidden"
  end

  function Request:_reply(code, reason, headers, body)
    if code >= 200 then
      verb(self, "reply")
    end
    self.code, self.reason, self.headers, self.body = code, reason, headers, body
  end

  function Request:drop(why)
    verb(self, "drop")
    self.dropped = why
  end

  function Request:age()
    return world.node.now - self.received + (self.older or 0)
  end

  function Request:decided()
    return self.final ~= nil or (self.cancel_at ~= nil and world.node.now >= self.cancel_at)
  end

  return Request
end

local function response_methods()
  local Response = {}
  function Response:_forward(keep_503)
    local req = assert(self.req, "which request was it?")
    assert(not req.verb, "a second verb")
    req.verb, req.forwarded = "forward", self
    req.code = (self.code == 503 and not keep_503) and 500 or self.code
  end
  return Response
end

-- A request that a caller sent. `fields`: method, call_id, older (seconds since it
-- was received), cancel_at (time).
function World:request(fields)
  local req = {
    method = "INVITE", call_id = "call-1", vars = {}, received = self.node.now,
    tried = {}, attempts = {},
  }
  for key, value in pairs(fields or {}) do
    req[key] = value
  end
  local methods = setmetatable({}, { __index = self.core.Request })
  methods._try = function(r, ...)
    local result = table.pack(self.core.Request._try(r, ...))
    if result[1] then
      result[1].req = r
    end
    return table.unpack(result, 1, result.n)
  end
  req._state = {}
  return setmetatable(req, { __index = methods })
end

-- ---- tandem.core ----

local function parse_uri(text)
  local scheme, rest = text:match "^(sips?):(.+)$"
  if not scheme then
    return nil, "no sip: or sips: in front"
  end
  local user, address = rest:match "^([^@;]*)@(.*)$"
  address = address or rest
  local host, port, params = address:match "^(%[[%x:]+%]):?(%d*)(.*)$"
  if not host then
    host, port, params = address:match "^([%w.-]+):?(%d*)(.*)$"
  end
  if not host then
    return nil, "no host"
  end
  return {
    scheme = scheme, user = user, host = host, port = math.tointeger(tonumber(port)),
    transport = params:match ";transport=(%w+)", params = {}, text = text,
    ip = host:match "^[%d.]+$" or host:match "^%[(.*)%]$",
  }
end

local function timer(node, fn_at)
  local handle = {}
  handle.entry = fn_at(handle)
  function handle.cancel()
    handle.cancelled = true
    handle.entry.cancelled = true
  end
  node.timers = (node.timers or 0) + 1
  return handle
end

local function add_time(world, core)
  local node = world.node
  function core.lagged()
    return false
  end

  function core.now()
    return world.phase == "load" and 0 or node.now
  end
  function core.wall()
    return 1700000000 + node.now
  end
  function core.after(seconds, fn)
    return timer(node, function()
      return node:at(node.now + seconds, function()
        world:task(fn)
      end)
    end)
  end
  function core.every(seconds, fn)
    return timer(node, function(handle)
      local function again()
        if not (handle.task and not handle.task.done) then
          handle.task = world:task(fn)
        end
        handle.entry = node:at(node.now + seconds, again)
      end
      return node:at(node.now + seconds, again)
    end)
  end
  function core.sleep(seconds)
    suspend(function(wake)
      node:at(node.now + seconds, wake)
    end)
  end
  function core.spawn(fn)
    assert(world.phase == "run", "nothing runs while loading")
    return world:task(fn)
  end
  function core.us(seconds)
    return math.floor(seconds * 1e6 + 0.5)
  end
  function core.seconds(us)
    return us / 1e6
  end
end

local rest = 600 -- seconds for which a name stays after its server has left

-- Where `full` lived or can live now, and who did before.
local function find_home(node, homes, full)
  local free
  for _, home in ipairs(homes) do
    if home.full == full then
      return home
    elseif home.users == 0 and node.now - home.left >= rest then
      free = free or home
    end
  end
  if #homes < homes.n then
    free = { users = 0 }
    homes[#homes + 1] = free
  end
  return free, free and free.full
end

function join(node, pool, full)
  local home, was = find_home(node, node.homes[pool], full)
  if not home then
    return nil
  end
  home.full, home.users = full, home.users + 1
  if was then
    node.facts[was] = nil
  end
  node.facts[full] = node.facts[full]
    or setmetatable({ full = full, values = {}, counts = {}, resources = {}, node = node,
      home = home }, Facts)
  return node.facts[full], was
end

local function add_node(world, core)
  local node = world.node
  function core.member(pool, name, conf)
    local full = pool .. "/" .. name
    for _, addr in ipairs(conf.addr) do
      if not addr:find "^[%d.]+:%d+;" and not addr:find "^%[" then
        error(("server %s: '%s' is no IP address"):format(full, addr))
      end
    end
    world.members[full] = conf
    node.facts[full] = node.facts[full]
      or setmetatable({ full = full, values = {}, counts = {}, resources = {},
        node = node }, Facts)
    for _, resource in ipairs(conf.resources or {}) do
      node.facts[full].resources[resource] = node.facts[full].resources[resource] or 0
    end
    return node.facts[full]
  end
  -- Servers that join while it runs; a home is the place of one of them.
  function core.room(pool, n)
    node.homes[pool] = node.homes[pool] or {}
    node.homes[pool].n = n
  end
  function core.join(pool, name)
    return join(node, pool, pool .. "/" .. name)
  end
  function core.metrics()
    return { counters = {}, histograms = {}, bounds = {}, alive = {} }
  end
  function core.counters(from, n)
    return table.move(world.counters or {}, from, from + n - 1, 1, {})
  end
  function core.observe(what, seconds)
    assert(what == "check")
    table.insert(node.observed, seconds)
  end
  function core.changes()
    return node.changes
  end
  function core.loads(list, out, resource)
    for i, facts in ipairs(list) do
      out[i] = resource and facts:used(resource)
        or not resource and facts:get "calls" + facts:get "setup"
    end
    return out
  end
  function core.shared(name)
    node.shared[name] = node.shared[name] or {}
    local values = node.shared[name]
    return {
      get = function(_, key)
        return values[key]
      end,
      set = function(_, key, value)
        values[key] = value
      end,
      incr = function(_, key, by, init)
        values[key] = (values[key] or init or 0) + (by or 1)
        return values[key]
      end,
    }
  end
  function core.sticky_get(pool, key)
    local entry = node.sticky[pool .. "|" .. key]
    return entry and entry[2] > node.now and entry[1] or nil
  end
  function core.sticky_set(pool, key, name, ttl)
    node.sticky[pool .. "|" .. key] = { name, node.now + ttl }
  end
  function core.post(worker, topic, payload)
    assert(type(payload) == "string")
    table.insert(world.posted, { worker, topic, payload })
    node:at(node.now, function()
      local other = node.worlds[worker]
      if other and other.receive then
        other.receive(topic, payload)
      end
    end)
  end
  -- world.dns[uri]: a list of { addr =, rank =, weight = } with ttl and stale (then all of
  -- it is), or a word for what is wrong.
  function core.locate(uri)
    table.insert(world.lookups, { at = node.now, uri = uri })
    suspend(function(wake)
      node:at(node.now + 0.01, wake)
    end)
    local answer = world.dns[uri] or "dns_none"
    if type(answer) == "string" then
      return nil, answer
    end
    for _, place in ipairs(answer) do
      place.stale = answer.stale == true
    end
    return answer
  end
  function core.request(spec)
    local full = spec.facts and spec.facts.full or spec.uri or "the other end of the dialog"
    if spec.addr then
      full = full .. "@" .. spec.addr:match "^(.*);"
    end
    local flying = (node.flying and node.flying[full] or 0) + 1
    node.flying = node.flying or {}
    node.flying[full] = flying
    node.most_flying = math.max(node.most_flying or 0, flying)
    table.insert(node.checks, { at = node.now, server = full, spec = spec })
    local took, res, err, detail = outcome(world, full, spec.method, { timeout = spec.timeout })
    suspend(function(wake)
      node:at(node.now + took, wake)
    end)
    node.flying[full] = node.flying[full] - 1
    return res, err, detail
  end
end

local function add_loading(world, core)
  function core.framed(fn)
    return fn
  end

  function core.steady(_, fn, ...)
    return fn(...)
  end

  function core.where()
    return world.where
  end
  function core.phase()
    return world.phase
  end
  function core.worker()
    return world.worker
  end
  function core.generation()
    return world.generation or 0
  end
  function core.dump_before()
    return world.dump_before
  end
  function core.overrides()
    return world.overrides, world.edit
  end
  function core.keep(name, text)
    world.node.files[name] = text ~= "" and text or nil
  end
  function core.kept()
    local text = world.node.files["health.json"]
    return world.generation == 1 and text or nil
  end
  function core.workers()
    return 2
  end
  -- What the decision trace would have of a request.
  function core.note(req, word, ...)
    req.notes = req.notes or {}
    table.insert(req.notes, table.pack(word, ...))
  end

  function core.handler(kind, method, fn)
    table.insert(world.handlers, { kind = kind, method = method, fn = fn })
  end
  function core.load_data(name)
    return world.files[name] or error("no such file: " .. name, 0)
  end
  function core.finish(fn)
    world.finish_fn = fn
  end
  function core.start(fn)
    world.start_fn = fn
  end
  function core.stop(fn)
    world.stop_fn = fn
  end
  function core.on_post(fn)
    world.receive = fn
  end
  function core.on_ask(fn)
    world.ask_fn = fn
  end
  function core.server_object(fn)
    world.server_of = fn
  end
  function core.on_attempt(fn)
    world.on_attempt = fn
  end
  function core.check_tls() -- no files here
  end

  function core.parse_addr(text)
    local transport, host, port = text:match "^(%a+):(.+):(%d+)$"
    if not transport then
      transport, host = text:match "^(%a+):(.+)$"
    end
    if transport ~= "udp" then
      return nil, "no transport that can be listened on"
    end
    return { transport = transport, host = host, port = math.tointeger(tonumber(port)) or 5060 }
  end
  function core.net(text)
    return text:find "^[%x.:]+/%d+$" and true or nil, "no prefix length"
  end
end

local function add_rest(world, core)
  local state = 1
  function core.random()
    state = (state * 1103515245 + 12345) % 2147483648
    return state / 2147483648
  end
  function core.hash(...)
    local sum = 0xcbf29ce484222325
    for _, text in ipairs { ... } do
      for i = 1, #text do
        sum = (sum ~ text:byte(i)) * 0x100000001b3
      end
      sum = (sum ~ 256) * 0x100000001b3
    end
    sum = (sum ~ sum >> 32) * 0x9e3779b97f4a7c15
    return sum ~ sum >> 32
  end
  function core.event(level, key, fields)
    local event = { at = world.node.now, level = level, key = key, order = {} }
    for i, field in ipairs(fields) do
      local kind = type(field[2])
      assert(kind == "string" or kind == "number" or kind == "boolean",
        ("%s of %s is a %s"):format(field[1], key, kind))
      event[field[1]] = field[2]
      event.order[i] = field[1]
    end
    table.insert(world.events, event)
  end
  function core.counter(name, help, labels)
    local counter = { name = name, help = help, labels = labels, value = 0 }
    function counter:add(n)
      self.value = self.value + (n or 1)
    end
    world.counters = world.counters or {}
    table.insert(world.counters, counter)
    return counter
  end
  function core.answered(res)
    local facts = not res.is_local and res.server_facts or nil
    return facts, res.code, res.req ~= nil and res.req.method == "INVITE"
  end

  function core.state(req)
    return req._state
  end

  function core.lone(t, key)
    if type(t) ~= "table" or getmetatable(t) then
      return nil
    end
    for other in pairs(t) do
      if other ~= key then
        return nil
      end
    end
    return t[key]
  end

  function core.better(a, b)
    return (b.code >= 600 and a.code < 600 or b.code // 100 < a.code // 100) and b or a
  end
  core.parse_uri = parse_uri
  core.json_encode = cjson.encode
  core.json_decode = cjson.decode
end

-- `options`: worker (0), beside (another world: the same node), where, files.
function fake.new(options)
  options = options or {}
  local world = setmetatable({
    node = options.beside and options.beside.node or new_node(),
    worker = options.worker or 0, where = options.where or "route.lua:14",
    files = options.files or {}, phase = "load",
    events = {}, errors = {}, posted = {}, handlers = {}, members = {},
    dns = options.dns or {}, lookups = {},
  }, World)
  world.node.worlds[world.worker] = world
  local core = {}
  world.core = core
  add_time(world, core)
  add_node(world, core)
  add_loading(world, core)
  add_rest(world, core)
  core.Request = request_methods(world)
  core.Response = response_methods()
  return world
end

-- ---- what specs use ----

-- A module of ours in this world; loaded once per world.
function World:require(name)
  if not self.loaded then
    self.loaded = { ["tandem.core"] = self.core }
  end
  for key in pairs(package.loaded) do
    if key:find "^tandem" then
      package.loaded[key] = nil
    end
  end
  for key, value in pairs(self.loaded) do
    package.loaded[key] = value
  end
  local result = require(name)
  for key, value in pairs(package.loaded) do
    if key:find "^tandem" then
      self.loaded[key], package.loaded[key] = value, nil
    end
  end
  return result
end

-- The end of loading: the plan.
function World:finish()
  return self.finish_fn()
end

function World:start()
  self.plan = self:finish()
  self.phase = "run"
  local dumps = self.node.dumps[self.worker] or {}
  self.dump_before = dumps[#dumps]
  dumps[#dumps + 1] = self.plan.dump
  self.node.dumps[self.worker], self.generation = dumps, #dumps
  self.start_fn()
end

function World:stop()
  self.stop_fn()
end

-- What server `full` ("pbx/a") does from now on; method may be "*".
function World:server(full, method, act)
  self.node.servers[full] = self.node.servers[full] or {}
  self.node.servers[full][method] = act
end

-- The log events of a key, those with these fields.
function World:logged(key, match)
  local found = {}
  for _, event in ipairs(self.events) do
    local fits = event.key == key
    for name, value in pairs(match or {}) do
      fits = fits and event[name] == value
    end
    if fits then
      found[#found + 1] = event
    end
  end
  return found
end

-- The message of the error that fn must raise.
function fake.message(fn, ...)
  local ok, err = pcall(fn, ...)
  assert(not ok, "no error was raised")
  return tostring(err)
end

return fake
