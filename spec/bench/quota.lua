-- A share of one processor for a program (a control group: root), and what came of it.
local program = require "bench.program"
local sh = require "support.sh"
local assert, ipairs, pairs, setmetatable = assert, ipairs, pairs, setmetatable
local string, tonumber = string, tonumber

local _ENV = nil

local quota = {}
local Group = {}
Group.__index = Group

-- Quanta short enough that no message waits for the next one as long as in an overload.
local period_us = 10000

-- A group of which all programs together get so many percent of one processor.
function quota.make(share)
  local name, us = "/tandem-bench-" .. sh.lines("echo $PPID")[1], share * period_us // 100
  local two = program.read "/sys/fs/cgroup/cgroup.controllers"
  local files = two and { ["cpu.max"] = us .. " " .. period_us }
    or { ["cpu.cfs_period_us"] = period_us, ["cpu.cfs_quota_us"] = us }
  if two then
    sh.run "echo +cpu >/sys/fs/cgroup/cgroup.subtree_control"
  end
  local self = setmetatable({ share = share,
    path = "/sys/fs/cgroup" .. (two and "" or "/cpu") .. name }, Group)
  assert(sh.run("mkdir -p " .. self.path), "no control group: it needs root")
  for file, value in pairs(files) do
    program.write(self.path .. "/" .. file, value .. "\n")
  end
  return self
end

-- Words before a command that is to run in it.
function Group:prefix()
  return { "sh", "-c", "echo $$ >" .. self.path .. '/cgroup.procs; exec "$@"', "sh" }
end

-- Whoever was in it takes a moment to be gone.
function Group:remove()
  program.eventually(5, function() return (sh.run("rmdir " .. self.path)) end)
end

-- The files in which the kernel counts the time of each thread of some programs.
local function times_of(list)
  local files = {}
  for _, p in ipairs(list) do
    for _, name in ipairs(sh.lines("ls -d /proc/" .. p.pid .. "/task/*; true")) do
      files[#files + 1] = name .. "/schedstat"
    end
  end
  return files
end

-- Seconds that the threads have run, and that they could have run and had no processor.
local function times(files)
  local ran, waited = 0, 0
  for _, file in ipairs(files) do
    local a, b = string.match(program.read(file) or "", "^(%d+) (%d+)")
    ran, waited = ran + tonumber(a or 0) / 1e9, waited + tonumber(b or 0) / 1e9
  end
  return ran, waited
end

-- A function that reads what has been counted so far of a program in the group, and of `others`:
-- { at =, cpu = its processor seconds, others = theirs, waited = seconds that those had no
-- processor, stolen = seconds that the machine's processors were not there (of all of them
-- together), periods =, throttled = periods in which the group had used up its share }.
function Group:sampler(p, others)
  local hz, own, their = tonumber(sh.lines("getconf CLK_TCK")[1]), times_of { p }, times_of(others)
  return function()
    local r = { at = program.now(), cpu = times(own) }
    r.others, r.waited = times(their)
    local ticks = string.match(program.read "/proc/stat", "^cpu +" .. string.rep("%d+ ", 7)
      .. "(%d+)")
    r.stolen = tonumber(ticks or 0) / hz
    local stat = program.read(self.path .. "/cpu.stat") or ""
    r.periods = tonumber(string.match(stat, "nr_periods (%d+)") or 0)
    r.throttled = tonumber(string.match(stat, "nr_throttled (%d+)") or 0)
    return r
  end
end

return quota
