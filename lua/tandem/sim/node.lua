-- A proxy in a simulation: a machine with addresses and, while it runs, a process
-- with the real core and the script.
local address = require "tandem.sim.address"
local message = require "tandem.sim.message"
local metrics = require "tandem.control.metrics"
local error, io, ipairs, math, os = error, io, ipairs, math, os
local package, table, tonumber, type = package, table, tonumber, type

local _ENV = nil

local node = {}

---@class tandem.sim.Node
local methods = {}
local properties = {}

local class = {
  __index = function(self, key)
    local property = properties[key]
    if property then
      return property(self)
    end
    return methods[key]
  end,
}

-- ---- files ---------------------------------------------------------------

local function read(path)
  local file = io.open(path, "rb")
  local bytes = file and file:read "a"
  if file then
    file:close()
  end
  return bytes
end

local function candidates(name, is_module, dir)
  if not is_module then
    return { dir .. name, name }
  end
  local file = name:gsub("%.", "/") .. ".lua"
  local found = package.searchpath(name, package.path)
  return { dir .. file, dir .. "lua/" .. file, found }
end

-- Where the script is.
local function folder(opts)
  return opts.script and opts.script:match "^(.*/)" or ""
end

-- What the script sees of the disk: `files` first, then the script's folder, then
-- where this Lua finds its modules.
local function loader(opts)
  local dir = folder(opts)
  local files = opts.files or {}
  return function(name, is_module)
    if opts.source and not is_module and name == opts.path then
      return opts.source, opts.path
    end
    local file = is_module and name:gsub("%.", "/") .. ".lua" or name
    if files[file] == false then
      return nil
    elseif files[file] or files[name] then
      return files[file] or files[name], file
    elseif not is_module and name == opts.script then
      return read(name), name
    end
    local paths = candidates(name, is_module, dir)
    for i = 1, 3 do
      local bytes = paths[i] and read(paths[i])
      if bytes then
        return bytes, paths[i]
      end
    end
  end
end

local function conf(opts)
  return {
    path = (opts.script or opts.source) and opts.path, listen = opts.listen,
    workers = opts.workers, key = opts.key, own_listeners = opts.own_listeners,
    load = loader(opts), edit = opts.edit,
    -- for our own specs (make test-gc): garbage goes before every n-th entry into a script
    collect_every = math.tointeger(tonumber(os.getenv "TANDEM_GC")),
  }
end

-- ---- life ----------------------------------------------------------------

---@return tandem.sim.Node
function node.new(net, opts)
  local self = message.class({ net = net, opts = opts, name = opts.name }, class)
  self.id, self.machine = net.world:node(table.unpack(opts.addrs))
  self.ip = opts.addrs[1]
  self:start()
  return self
end

local function since_start(self)
  self.baseline = {}
  for worker = 1, self.workers do
    self.baseline[worker] = self:stats(worker)
  end
end

local function fail(self, why)
  error(("%s\n(seed %d)"):format(why, self.net.seed), 0)
end

-- Where it is reached by a transport, from an address of the same family; nil: it does
-- not listen there.
---@param transport string
---@param ip string?
---@return string?
function methods:listener(transport, ip)
  local six = (ip or self.ip):find ":" ~= nil
  for _, own in ipairs(self.opts.addrs) do
    if (own:find ":" ~= nil) == six then
      return self.net.world:listener(self.id, own, transport)
    end
  end
end

-- Starts the process again, after crash or stop.
function methods:start()
  local ok, why = self.net.world:start(self.id, conf(self.opts))
  if not ok then
    fail(self, why)
  end
  self.net.world:power(self.machine, true)
  self.addr = self:listener "udp" or self:listener "tcp" or self:listener "tls"
    or address.parse(self.ip).addr
  since_start(self)
  return self
end

-- As SIGKILL: no goodbye.
function methods:crash()
  self.net.world:kill(self.id)
end

local socket_buffer = 4 << 20 -- bytes that a worker's socket takes, as the binary's

-- As SIGSTOP: it does nothing until it is resumed. What it is sent waits in the sockets,
-- opts.buffer bytes of datagrams for each worker, and what is more is lost ("full").
---@param opts { buffer: integer? }?
function methods:pause(opts)
  self.net.world:pause(self.id, opts and opts.buffer or socket_buffer)
end

local function us(seconds)
  return math.floor((seconds or 0) * 1e6 + 0.5)
end

-- A slow machine: what work costs each worker in seconds, a message that comes
-- (`receive`), one that is sent (`send`) and a request that the script is given
-- (`request`). What comes meanwhile waits in its turn, `buffer` bytes of datagrams for
-- each worker. Nothing given: it takes no time, as before.
---@param cost { receive: number?, send: number?, request: number?, buffer: integer? }?
function methods:slow(cost)
  cost = cost or {}
  self.net.world:slow(self.id, us(cost.receive), us(cost.send), us(cost.request),
    cost.buffer or socket_buffer)
end

-- As SIGCONT: timers that are due and all that has come meanwhile, at once.
function methods:resume()
  self.net.world:resume(self.id)
end

local function check_not_paused(self)
  if self.net.world:paused(self.id) then
    error(self.name .. " is paused, and hears no signals", 3)
  end
end

-- As SIGTERM in the end: open requests are answered.
function methods:stop()
  check_not_paused(self)
  self.net.world:stop(self.id)
end

-- Takes nothing new from now on (and again: false); what is there goes on.
function methods:drain(on)
  check_not_paused(self)
  self.net.world:drain(self.id, on ~= false)
end

local look_again = 0.1 -- seconds, as the binary

-- As SIGTERM: drains, and stops when nobody is in the middle of anything, at the latest
-- after the script's stop_timeout.
function methods:term()
  local world, life = self.net.world, self.baseline
  local _, wait = world:quiet(self.id)
  local limit = self.net.now + wait
  local function look()
    if self.workers == 0 or self.baseline ~= life then
      return
    elseif world:quiet(self.id) or self.net.now >= limit then
      self:stop()
    else
      self.net:after(math.min(look_again, limit - self.net.now), look)
    end
  end
  self:drain()
  look()
end

-- The machine goes: what it is sent vanishes without ICMP.
function methods:power_off()
  self.net.world:power(self.machine, false)
  self.net.world:kill(self.id)
end

-- The bytes in the script's state_dir, which outlive the process; with an argument
-- others take their place.
---@param bytes string?
---@return string
function methods:disk(bytes)
  return self.net.world:disk(self.id, bytes)
end

-- What the script has kept in its state_dir beside that: "overrides.json", what operators
-- want, and "health.json", what is known of the servers. With an argument another text
-- takes its place, "" for none.
---@param name string
---@param text string?
---@return string
function methods:kept(name, text)
  return self.net.world:kept(self.id, name, text)
end

-- A VIP comes or goes.
function methods:take(ip)
  self.net.world:take(self.id, ip)
end

function methods:drop(ip)
  self.net.world:drop(self.id, ip)
end

-- Moves the wall clock of the machine.
function methods:skew(seconds)
  self.net.world:skew(self.id, math.floor(seconds * 1e6))
end

-- Loads another script (a path, { source = ... } or nothing: the same again).
-- Returns true, or nil and the errors; then nothing has changed.
function methods:reload(what)
  check_not_paused(self)
  local opts = message.copy(self.opts)
  if type(what) == "string" then
    opts.script, opts.source, opts.path = what, nil, what
  elseif what then
    for name in message.sorted(what) do
      opts[name] = what[name]
    end
  end
  local ok, why = self.net.world:reload(self.id, conf(opts))
  if ok then
    self.opts = opts
  end
  return ok, why
end

-- Changes what operators want otherwise than the script says, by an edit as the control
-- API makes it (JSON): a reload, which goes through or changes nothing.
---@param edit string
---@return boolean? ok
---@return string? why
function methods:override(edit)
  check_not_paused(self)
  local opts = message.copy(self.opts)
  opts.edit = edit
  return self.net.world:reload(self.id, conf(opts))
end

local many, pause = 8, 10 -- earlier generations; seconds until it is tried again

-- Reloads because of a file, some seconds from now; again, when too many generations
-- before have requests.
local function apply_after(self, seconds)
  if self.change then
    self.change:cancel()
  end
  self.change = self.net:after(seconds, function()
    self.change = nil
    if self.net.world:paused(self.id) then
      apply_after(self, 1)
    elseif self.workers > 0 and not self:reload() and self.retired >= many then
      apply_after(self, pause)
    end
  end)
end

-- Has the script read a file of this name, or one that lies beside it?
local function is_watched(self, name)
  local beside = folder(self.opts) .. name
  for _, file in ipairs(self.net.world:files(self.id)) do
    if file == name or file == beside then
      return true
    end
  end
  return false
end

-- Writes a file of the node's, nil: takes it away. When the script has read it with
-- sip.data or sip.netset it is loaded again a second after the last such change.
function methods:write(name, bytes)
  local files = message.copy(self.opts.files or {})
  files[name] = bytes or false
  self.opts.files = files
  if not is_watched(self, name) then
    return
  end
  apply_after(self, 1)
end

-- ---- inside --------------------------------------------------------------

function properties.workers(self)
  return self.net.world:workers(self.id)
end

-- How many scripts have run since it started, and how many of them before the
-- present one still have requests.
function properties.generation(self)
  return self:stats(1).generation
end

function properties.retired(self)
  local most = 0
  for worker = 1, self.workers do
    most = math.max(most, self:stats(worker).retired)
  end
  return most
end

-- Calls a function of the module tandem.inspect in the script's state.
function methods:inspect(name, argument, worker)
  local ok, value = self.net.world:eval(self.id, (worker or 1) - 1, name, argument)
  if not ok then
    error(value, 2)
  end
  return value
end

-- What the control API would ask of a worker (1): the answer, or nil and why.
function methods:ask(what, args, worker)
  local answer = self:inspect("ask", { what = what, args = args }, worker)
  return answer[1], answer.why
end

function methods:stats(worker)
  return self.net.world:stats(self.id, worker - 1)
end

local function by_name(list, name)
  for _, entry in ipairs(list) do
    if entry.name == name then
      return entry
    end
  end
end

-- A pool by name: its servers by theirs, and what is said about it (state,
-- active_tier, servers). Asked for when used, never kept.
local function view(self, pool)
  return message.class({}, {
    __index = function(_, name)
      local facts = by_name(self:inspect "pools", pool)
      if not facts then
        error("there is no pool " .. pool, 2)
      end
      return by_name(facts.servers, name) or facts[name]
    end,
  })
end

-- node.pools.pbx.a.status, node.pools.pbx.state
function properties.pools(self)
  return message.class({}, {
    __index = function(_, pool)
      return view(self, pool)
    end,
  })
end

-- All samples, as the binary shows them; of what the script's side knows only when it
-- is `whole`, since that asks the script.
---@param whole boolean
---@return table families
function methods:samples(whole)
  local workers = self.net.world:counters(self.id)
  local sources = { workers = workers }
  for worker = 1, whole and #workers or 0 do
    local answer = self:ask("metrics", nil, worker)
    if answer then
      answer.user = workers[worker].user
      workers[worker] = answer
    end
  end
  local shared = whole and #workers > 0 and metrics.pages(function(args)
    return self:ask("metrics.servers", args)
  end)
  if shared then
    sources.pools, sources.servers = shared.pools, shared.servers
  end
  return metrics.collect(sources)
end

-- The sum of the samples of that name whose labels are as wanted. A counter of the
-- script has the name it gave it, or the one outside.
function methods:metric(name, labels)
  local own = metrics.user_name(name)
  local families = self:samples(false)
  if families[own] then
    return metrics.sum(families, own, labels)
  elseif not families[name:gsub("_%l+$", "")] and not families[name] then
    families = self:samples(true)
  end
  return metrics.sum(families, name, labels) or error("there is no metric " .. name, 2)
end

-- Makes the n-th allocation from now on fail (0: none), and `row` in all. which:
-- "core", "lua" or "node". Returns how many there were so far.
function methods:fail_alloc(n, opts)
  opts = opts or {}
  return self.net.world:fail_alloc(self.id, (opts.worker or 1) - 1, opts.which or "core",
    n, opts.row)
end

-- ---- the end -------------------------------------------------------------

local counted = {
  "requests", "servers", "clients", "flows", "tasks", "script_timers", "timers",
}

-- What is still alive in a worker that should be at rest.
local function leftovers(self, worker, list)
  local stats, before = self:stats(worker), self.baseline[worker]
  for _, what in ipairs(counted) do
    if stats[what] > 0 then
      list[#list + 1] = ("%s worker %d: %d %s"):format(self.name, worker, stats[what], what)
    end
  end
  if stats.bytes > before.bytes then
    list[#list + 1] = ("%s worker %d: %d bytes more than after start"):format(
      self.name, worker, stats.bytes - before.bytes)
  end
end

local at_rest = { "inflight", "setup", "calls" }

-- What a server that nobody uses still counts.
local function uncounted(self, member, list)
  local function check(what, value)
    if value ~= 0 then
      list[#list + 1] = ("%s: %s of %s is %d"):format(self.name, what, member.name, value)
    end
  end
  for _, what in ipairs(at_rest) do
    check(what, member.facts[what])
  end
  for name in message.sorted(member.used) do
    check(name, member.used[name])
  end
end

---@return string[] problems
function methods:leftovers()
  local list = {}
  for _, member in ipairs(self.net.world:members(self.id)) do
    uncounted(self, member, list)
  end
  if self.workers > 0 then
    self.net.world:collect(self.id)
  end
  for worker = 1, self.workers do
    leftovers(self, worker, list)
  end
  return list
end

function methods:errors()
  local sum = 0
  for worker = 1, self.workers do
    sum = sum + self:stats(worker).errors
  end
  return sum
end

-- Calls that the test did not hang up are no leak, nor are connections.
function methods:let_go()
  if self.workers > 0 then
    self.net.world:let_go(self.id)
  end
end

function methods:quiesce()
  if self.workers > 0 then
    self.net.world:quiesce(self.id)
  end
end

return node
