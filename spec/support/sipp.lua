-- Callers and servers for specs: sipp with the scenarios of spec/e2e/sipp, or with a file.
--
--   local a = sipp.server("answer", { port = 5081 })
--   local call = sipp.call("call", { proxy = "127.0.0.1:5060" })
--   assert.equal("180 INVITE", call:got()[1])
--
-- A scenario is a sipp file with %{word} for what differs between runs: `uri` is
-- whom a caller calls, `name` the user in the Contact of a server.
local process = require "support.process"
local error, ipairs, math, os, pairs = error, ipairs, math, os, pairs
local setmetatable, string, table = setmetatable, string, table
local tonumber, tostring = tonumber, tostring

local _ENV = nil

local sipp = {}
local Run = {}

-- ---- starting ----

-- With these literal replacements, those of them that occur.
local function replaced(text, replacements)
  for old, new in pairs(replacements or {}) do
    text = string.gsub(text, (string.gsub(old, "%p", "%%%0")), (string.gsub(new, "%%", "%%%%")))
  end
  return text
end

local function scenario_file(name, scenario, options)
  local values = { name = name, uri = "sip:bob@example.com" }
  local path = string.find(scenario, "/", 1, true) and scenario
    or "spec/e2e/sipp/" .. scenario .. ".xml"
  local text = process.read(path)
    or error("no scenario " .. scenario, 3)
  text = replaced(text, options.replace)
  for key, value in pairs(options.values or {}) do
    values[key] = value
  end
  return process.write(name .. ".xml", process.fill(text, values))
end

-- Options: name (the scenario's), host (127.0.0.1), port (any), proxy ("host:port",
-- for those who call), values (of the scenario), replace (literal text in it), calls
-- (1; servers: no end), rate (per second), limit (seconds, 20), quiet (statistics
-- instead of messages), inside (a support.netns), args (more of them).
function sipp.start(scenario, options)
  local name = options.name or scenario
  local argv = {
    "sipp", "-sf", scenario_file(name, scenario, options),
    "-i", options.host or "127.0.0.1", "-bind_local", "-nostdin", "-skip_rlimit",
    "-timeout", tostring(options.limit or 20), "-timeout_error", "-recv_timeout", "12000",
    "-default_behaviors", "all,-bye",
    "-trace_err", "-error_file", process.path(name .. ".errors.log"),
  }
  local function add(...)
    for _, word in ipairs { ... } do
      argv[#argv + 1] = word
    end
  end
  add("-p", options.port or process.ports(1))
  if options.calls ~= 0 then
    add("-m", options.calls or 1)
  end
  if options.rate then
    add("-r", options.rate)
  end
  if options.quiet then
    add("-trace_stat", "-stf", process.path(name .. ".csv"), "-fd", "1")
  else
    add("-trace_msg", "-message_file", process.path(name .. ".messages"),
      "-trace_shortmsg", "-shortmessage_file", process.path(name .. ".short.log"))
  end
  add(table.unpack(options.args or {}))
  if options.proxy then
    add(options.proxy)
  end
  local self = process.start {
    name = name, argv = argv, limit = (options.limit or 20) + 5, log = name .. ".screen",
    env = "TERM=dumb", inside = options.inside,
  }
  return setmetatable(self, Run)
end

-- A server that is there when this returns: protocol "udp", or "tcp". It takes calls
-- until the test ends, or as many as `calls` says.
function sipp.server(scenario, options)
  options.calls = options.calls or 0
  local self = sipp.start(scenario, options)
  self:wait_bound(options.port, options.protocol)
  return self
end

-- A call that has ended as its scenario says; anything else is an error.
function sipp.call(scenario, options)
  local self = sipp.start(scenario, options)
  self:succeed()
  return self
end

-- ---- what has happened ----

Run.__index = function(_, key)
  return Run[key] or process.Process[key]
end

-- Waits for the end; every call must have gone as the scenario says.
function Run:succeed()
  local status = self:wait()
  if status ~= 0 then
    error(string.format("%s: sipp ended with %d\n%s", self.name, status,
      process.read(process.path(self.name .. ".errors.log")) or ""), 0)
  end
  return self
end

local function seconds(date, time)
  local year, month, day = string.match(date, "(%d+)-(%d+)-(%d+)")
  local hour, min, sec = string.match(time, "(%d+):(%d+):([%d.]+)")
  return os.time {
    year = math.tointeger(tonumber(year)), month = math.tointeger(tonumber(month)),
    day = math.tointeger(tonumber(day)), hour = 0,
  } + tonumber(hour) * 3600 + tonumber(min) * 60 + tonumber(sec)
end

-- The value of the first such header, or nil.
local function header(m, name)
  return string.match(m.text, "\n" .. name .. ":%s*([^\r\n]*)")
end

-- The values of all such headers, cut at the commas.
local function values(m, name)
  local list = {}
  for line in string.gmatch(m.text, "\n" .. name .. ":%s*([^\r\n]*)") do
    for value in string.gmatch(line, "[^,]+") do
      list[#list + 1] = string.match(value, "^%s*(.-)%s*$")
    end
  end
  return list
end

-- Everything sent and received, in order: { at = seconds, sent = boolean, text =,
-- key = "INVITE" or "180 INVITE", header = fn, values = fn }.
function Run:messages()
  local list = {}
  local text = process.read(process.path(self.name .. ".messages")) or ""
  for date, time, how, body in string.gmatch(text .. string.rep("-", 20),
    "%-%-%-%-+ (%S+) (%S+)\n%S+ message (%a+)[^\n]*\n\n(.-)%f[-]%-%-%-%-%-%-%-%-%-%-") do
    local m = { at = seconds(date, time), sent = how == "sent", text = body, header = header,
      values = values }
    m.key = string.match(body, "^SIP/2.0 (%d+)")
    local method = string.match(body, "\nCSeq:%s*%d+%s+(%u+)")
    m.key = m.key and m.key .. " " .. (method or "?") or string.match(body, "^%u+") or body
    list[#list + 1] = m
  end
  return list
end

local function keys(self, sent)
  local list = {}
  for _, m in ipairs(self:messages()) do
    if m.sent == sent then
      list[#list + 1] = m.key
    end
  end
  return list
end

-- The keys of what it received, of what it sent.
function Run:got()
  return keys(self, false)
end

function Run:sent()
  return keys(self, true)
end

-- The first message with this key, or nil; the n-th.
function Run:message(key, n)
  for _, m in ipairs(self:messages()) do
    if m.key == key then
      n = (n or 1) - 1
      if n == 0 then
        return m
      end
    end
  end
end

-- How many messages with this key it received.
function Run:count(key)
  local n = 0
  for _, m in ipairs(self:messages()) do
    n = n + ((not m.sent and m.key == key) and 1 or 0)
  end
  return n
end

-- Seconds between its first messages with these keys.
function Run:between(first, second)
  local a, b = self:message(first), self:message(second)
  if not a or not b then
    error(string.format("%s: no %s", self.name, a and second or first), 2)
  end
  return b.at - a.at
end

-- The same for every call that has both.
function Run:delays(first, second)
  local since, list = {}, {}
  for _, m in ipairs(self:messages()) do
    local id = m:header "Call%-ID"
    if m.key == first and not since[id] then
      since[id] = m.at
    elseif m.key == second and since[id] then
      list[#list + 1] = m.at - since[id]
      since[id] = nil
    end
  end
  return list
end

-- With `quiet`: the last line of the statistics, by column.
function Run:statistics()
  local text = process.read(process.path(self.name .. ".csv")) or ""
  local head, last = string.match(text, "^([^\n]*)\n"), string.match(text, "([^\n]+)\n*$")
  local row, columns = {}, {}
  for value in string.gmatch(last or "", "([^;]*);") do
    columns[#columns + 1] = value
  end
  for name in string.gmatch(head or "", "([^;]*);") do
    row[name] = table.remove(columns, 1)
  end
  return row
end

return sipp
