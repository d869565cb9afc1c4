-- The built binary, as a user starts it.
--
--   local p = proxy.start { script = "examples/failover.lua" }
--   local p = proxy.start { source = "sip.listen { ... %{port} }", values = { port = 1 } }
local process = require "support.process"
local error, ipairs, os, pairs, setmetatable = error, ipairs, os, pairs, setmetatable
local string, tonumber = string, tonumber

local _ENV = nil

local proxy = {}
local Proxy = {}
proxy.methods = Proxy -- for a program that something else has started
Proxy.__index = function(_, key)
  return Proxy[key] or process.Process[key]
end

local build = os.getenv "BUILD" or "build/san"
-- Every proxy that does not say another number has so many workers.
local workers = os.getenv "WORKERS"

local function script_file(name, options)
  return options.script
    or process.write(name .. ".lua", process.fill(options.source, options.values or {}))
end

-- Options: script (a path) or source, values (for its %{name}), or servers (instead of
-- a script: { URI, ... }), name ("proxy"), binary (of another build), args (more of
-- them), workers (as the script says), level ("debug"), limit (seconds, 60), inside (a
-- support.netns), env ("A=b").
function proxy.launch(options)
  local name = options.name or "proxy"
  local argv = { options.binary or build .. "/tandem", "run", "--lua-dir", "lua", "-L",
    options.level or "debug" }
  for _, word in ipairs(options.servers or { "-c", script_file(name, options) }) do
    argv[#argv + 1] = word
  end
  if options.workers or workers then
    argv[#argv + 1] = "--workers"
    argv[#argv + 1] = options.workers or workers
  end
  for _, word in ipairs(options.args or {}) do
    argv[#argv + 1] = word
  end
  local self = process.start {
    name = name, limit = options.limit, inside = options.inside, env = options.env, argv = argv,
  }
  return setmetatable(self, Proxy)
end

-- As launch, and waits until it serves.
function proxy.start(options)
  local self = proxy.launch(options)
  process.eventually(10, function()
    return self:ended() or self:logged("start")[1]
  end)
  if self:ended() then
    error(string.format("the proxy ended with %d:\n%s", self:wait(), self:output()), 2)
  end
  return self
end

-- INT: it must end well, and soon. Returns why not.
function Proxy:stop()
  if not self.status and not self:ended() then
    self:signal "INT"
    if not process.eventually(3, function() return self:ended() end) then
      return self.name .. " does not end"
    end
  end
  local status = self:wait()
  if status ~= 0 and status ~= self.expected then
    return string.format("%s ended with %d:\n%s", self.name, status,
      string.sub(self:output(), -4000))
  end
end

-- The text of an example with these literal replacements; each must occur.
function proxy.example(name, replacements)
  local text = process.read("examples/" .. name .. ".lua") or error("no example " .. name, 2)
  for old, new in pairs(replacements) do
    local first, last = string.find(text, old, 1, true)
    if not first then
      error(string.format("examples/%s.lua has no %s any more", name, old), 2)
    end
    text = string.sub(text, 1, first - 1) .. new .. string.sub(text, last + 1)
  end
  return text
end

-- ---- its log ----

-- A line of logfmt as a table, the numbers as numbers.
local function parse(line)
  local event = {}
  local at = 1
  while true do
    local name, after = string.match(line, "^%s*([%w_.-]+)=()", at)
    if not name then
      return event
    end
    local value, rest = string.match(line, '^"(.-[^\\])"()', after)
    if not value then
      value, rest = string.match(line, "^(%S*)()", after)
    end
    event[name] = tonumber(value) or value
    at = rest
  end
end

-- The events with this key, those with these fields.
function Proxy:logged(key, match)
  local list = {}
  for line in string.gmatch(self:output(), "[^\n]+") do
    local event = parse(line)
    local fits = event.event == key
    for name, value in pairs(match or {}) do
      fits = fits and event[name] == value
    end
    if fits then
      list[#list + 1] = event
    end
  end
  return list
end

-- The first of these events; the log is written a moment later than it happens.
function Proxy:wait_logged(key, match, seconds)
  return process.eventually(seconds or 3, function()
    return self:logged(key, match)[1]
  end) or error(self.name .. " does not log " .. key, 2)
end

-- What is alive in all workers: { bytes =, requests =, servers =, clients =, timers = }.
function Proxy:stats()
  local before = #self:logged "stats"
  local expected = self:wait_logged "start".workers
  self:signal "USR1"
  local found = process.eventually(3, function()
    local list = self:logged "stats"
    return #list >= before + expected and list
  end)
  local sum = found and found[before + 1] or error("no stats in the log of " .. self.name, 2)
  for i = before + 2, before + expected do
    for name, value in pairs(found[i]) do
      sum[name] = tonumber(value) and tonumber(sum[name]) and sum[name] + value
    end
  end
  return sum
end

return proxy
