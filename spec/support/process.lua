-- Programs that a spec starts, on sockets of the loopback interface. Each runs in
-- a session of its own and for a limited time, and ends when the spec does, also
-- when that is killed. What they print is in build/e2e/<name of the test>/, and
-- shown when the test fails.
--
--   after_each(process.clean)      -- every spec that starts something
local sh = require "support.sh"
local busted = require "busted"
local wait = require "support.wait"
local assert, error, io, ipairs, math, os = assert, error, io, ipairs, math, os
local setmetatable, string, table = setmetatable, string, table
local tonumber, tostring = tonumber, tostring

local _ENV = nil

local process = {}
local Process = {}
Process.__index = Process
process.Process = Process

local running = {} -- what this test has started, oldest first
local dir = nil -- of this test, while it runs
local test_name = nil -- it gets at its end
local log_lines = 40 -- shown of every log of a failed test
local first_port, last_port = 20000, 32000 -- below what the kernel hands out
local next_port = nil

-- ---- files ----

local function read(name)
  local file = io.open(name, "rb")
  if not file then
    return nil
  end
  local text = file:read "a"
  file:close()
  return text
end

process.read = read

local function random()
  local file = assert(io.open("/dev/urandom", "rb"))
  local number = string.unpack("I4", file:read(4))
  file:close()
  return number
end

-- The name of a file of this test.
function process.path(name)
  if not dir then
    dir = string.format("build/e2e/running-%x", random())
    sh.run("mkdir -p " .. dir)
  end
  return dir .. "/" .. name
end

-- Writes a file of this test; returns its name.
function process.write(name, text)
  local path = process.path(name)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

-- The text with every %{name} replaced; each must have a value.
function process.fill(text, values)
  return (string.gsub(text, "%%{([%w_]+)}", function(name)
    return tostring(values[name] or error("nothing for %{" .. name .. "}", 3))
  end))
end

-- ---- time ----

process.sleep = busted.sleep
process.now = busted.monotime

process.eventually = wait.eventually

-- ---- ports ----

-- Is a socket bound to this port, on whatever address? protocol: "udp" or "tcp".
-- inside: a support.netns, if not here.
function process.bound(port, protocol, inside)
  local pattern = string.format(":%04X ", port)
  local folder = inside and inside:proc() or "/proc/net/"
  for _, family in ipairs { "", "6" } do
    for line in io.lines(folder .. (protocol or "udp") .. family) do
      local own = string.match(line, "^%s*%d+: %x+(:%x+ )")
      if own == pattern then
        return true
      end
    end
  end
  return false
end

-- n ports that nobody uses, by UDP or TCP, and that no test of this file had before: what
-- is late for one test must not arrive in another.
function process.ports(n)
  local list = {}
  while #list < n do
    if not next_port or next_port > last_port then
      next_port = first_port + random() % (last_port - first_port)
    end
    if not process.bound(next_port) and not process.bound(next_port, "tcp") then
      list[#list + 1] = next_port
    end
    next_port = next_port + 1
  end
  return table.unpack(list)
end

-- ---- running ----

-- Starts a program. `options`: name, argv, limit (seconds, 60), env ("A=b C=d"),
-- log (where it prints: NAME.log), inside (a support.netns).
function process.start(options)
  local words = options.inside and options.inside:prefix() or {}
  for _, word in ipairs(options.argv) do
    words[#words + 1] = sh.quote(tostring(word))
  end
  local self = setmetatable({
    name = options.name,
    log = process.path(options.log or options.name .. ".log"),
    pid_file = process.path(options.name .. ".pid"),
    command = table.concat(words, " "), inside = options.inside,
  }, Process)
  os.remove(self.pid_file)
  os.remove(self.log) -- nobody takes what an earlier one said for what this one says
  -- The shell becomes setpriv becomes timeout, which leads the session and is our
  -- child; when we end it gets a signal, and passes it on.
  self.pipe = sh.popen(string.format(
    "echo $$; exec setsid setpriv --pdeathsig TERM timeout -k 2 %d "
    .. "env %s sh -c 'echo $$ >%s; exec \"$@\"' sh %s >%s </dev/null",
    options.limit or 60, options.env or "", self.pid_file, self.command, self.log))
  self.group = assert(tonumber(self.pipe:read "l"))
  running[#running + 1] = self
  return self
end

-- Has it ended? True as well when nobody has asked for its status yet.
function Process:ended()
  if self.status then
    return true
  end
  local state = string.match(read("/proc/" .. self.group .. "/stat") or "", "%) (%a)")
  return state == nil or state == "Z"
end

-- The process itself, inside of `timeout`.
function Process:pid()
  return assert(tonumber(read(self.pid_file)), self.name .. " has no process")
end

-- Sends "TERM", "USR1", ... to the program.
function Process:signal(name)
  sh.run("kill -s " .. name .. " " .. self:pid())
end

-- Waits for its end. Returns the exit status; 128 + n when a signal ended it.
function Process:wait()
  if not self.status then
    local _, how, status = self.pipe:close()
    self.status = how == "signal" and 128 + status or status
  end
  return self.status
end

-- Ends it and all that it started, at once.
function Process:kill()
  if not self.status then
    sh.run("kill -s KILL -- -" .. self.group)
    self:wait()
  end
end

function Process:output()
  return read(self.log) or ""
end

-- Waits for a port to be bound by it.
function Process:wait_bound(port, protocol)
  local ok = process.eventually(10, function()
    return self:ended() and "ended" or process.bound(port, protocol, self.inside)
  end)
  if ok ~= true then
    error(string.format("%s has not bound port %d%s:\n%s", self.name, port,
      ok == "ended" and " before its end" or "", self:output()), 2)
  end
end

-- Ends what this test has started: newest first, by their stop() where they have
-- one, which may fail the test.
function process.clean()
  local failure = nil
  for i = #running, 1, -1 do
    local p = running[i]
    local why = p.stop and p:stop()
    failure = failure or why
    p:kill()
  end
  running = {}
  if dir then
    local name = "build/e2e/" .. (test_name or "unnamed")
    sh.run(string.format("rm -rf %s && mv %s %s", name, dir, name))
    dir, test_name = nil, nil
  end
  if failure then
    error(failure, 0)
  end
end

-- ---- a folder per test, and what to show when it fails ----

local function slug(text)
  return (string.gsub(string.gsub(string.lower(text), "[^%w]+", "-"), "^%-*(.-)%-*$", "%1"))
end

local function show(path, name)
  local lines = {}
  for line in string.gmatch(read(path) or "", "[^\r\n]+") do
    lines[#lines + 1] = line
  end
  local first = math.max(1, #lines - log_lines + 1)
  io.write("---- ", name, first > 1 and " (its end)" or "", "\n")
  io.write(table.concat(lines, "\n", first), "\n")
end

local function on_test_start(element, parent)
  test_name = slug(parent.name .. " " .. element.name)
  return nil, true
end

-- Before after_each: everything still runs.
local function on_test_end(_, _, status)
  if dir and status ~= "success" and status ~= "pending" then
    io.write("\nbuild/e2e/", test_name, ":\n")
    for _, path in ipairs(sh.lines("find " .. dir .. " -name '*.log' | sort") or {}) do
      show(path, string.match(path, "[^/]+$"))
    end
  end
  return nil, true
end

-- Busted loads this again for the next file.
local subscribed = {
  { { "test", "start" }, on_test_start },
  { { "test", "end" }, on_test_end },
}
for _, s in ipairs(subscribed) do
  s.id = busted.subscribe(s[1], s[2]).id
end
busted.subscribe({ "file", "end" }, function()
  for _, s in ipairs(subscribed) do
    if s.id then
      busted.unsubscribe(s.id, s[1])
      s.id = nil
    end
  end
  return nil, true
end)

-- ---- datagrams ----

-- Sends raw bytes as one datagram.
function process.send(port, bytes, address)
  local name = process.write("datagram", bytes)
  local ok, output = sh.run(string.format(
    "bash -c 'dd if=%s bs=65536 count=1 status=none >/dev/udp/%s/%d'",
    name, address or "127.0.0.1", port))
  assert(ok, output)
end

-- What comes back for it within `seconds`, concatenated.
function process.ask(port, bytes, seconds)
  local name = process.write("datagram", bytes)
  local _, output = sh.run(string.format("bash -c 'exec 3<>/dev/udp/127.0.0.1/%d; "
    .. "dd if=%s bs=65536 count=1 status=none >&3; timeout %g cat <&3'", port, name, seconds))
  return output
end


return process
