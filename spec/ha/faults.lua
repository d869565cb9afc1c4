-- What befalls the machines of spec/ha/world.lua, one after another while calls go on:
--
--   local marks = faults.run(w, "active-standby", say)
--
-- A mark is one row of the table: what (words), at (when it began, seconds of the wall
-- clock), vip (which virtual address it is about, 1), limits (how many calls in set-up it
-- may cost: setup; how long an ending may take: ended; how long nobody may answer: gap, all
-- seconds), quiet (a machine that must not send from the address any more: machine, from,
-- to), over (when the next thing may happen).
local process = require "support.process"
local world = require "ha.world"
local assert, ipairs, math = assert, ipairs, math

local _ENV = nil

local faults = {}

-- Waits until so many seconds after a time have gone.
local function until_after(at, seconds)
  process.sleep(math.max(0, at + seconds - world.now()))
end

-- How long a machine is missed after it vanished: three adverts, and what comes on top by
-- its priority, less than one more (RFC 5798 6.1). A moment for a busy machine.
local function silence(w)
  return 4 * w.advert + 0.3
end

-- How long the other one waits when it is told (an advert of priority 0).
local function skew(w)
  return w.advert + 0.3
end

-- Two checks a second apart, the second of which may just have been.
local detection = 2.2

-- ---- one address, two machines of equal rank ----

local standby = {}

-- Nobody starts it again for eight seconds.
function standby.kill(w, mark)
  local first = w:holder()
  local m = mark("kill -9 of the proxy", { setup = 1, ended = 5, gap = detection + skew(w) })
  w:kill(first)
  w:await(world.other(first))
  until_after(m.at, 8)
  m = mark("it comes back: the address stays", { setup = 0, gap = 0.3 })
  w:start_proxy(first)
  until_after(m.at, 6)
  assert(w:holder() == world.other(first), "the address has gone back")
end

-- As by systemd, with the RestartSec of dist/systemd/tandem.service.
local function kill_and_restart(w, mark)
  local first = w:holder()
  local m = mark("kill -9, started again after 0.1 s", { setup = 1, ended = 5,
    gap = detection + skew(w) })
  w:kill(first)
  until_after(m.at, 0.1)
  w:start_proxy(first)
  until_after(m.at, 8)
end

function standby.restart(w, mark)
  kill_and_restart(w, mark)
end

function standby.cut(w, mark)
  local first = w:holder()
  local m = mark("link cut", { setup = 1, gap = silence(w) })
  w.lan:cut(first)
  process.eventually(20, function() return w:has(world.other(first)) end)
  until_after(m.at, 8)
  m = mark("link mended: the address stays", { setup = 0, gap = 0.3 })
  w.lan:mend(first)
  until_after(m.at, 5)
  w:await(world.other(first))
end

function standby.drain(w, mark)
  local first = w:holder()
  local m = mark("planned drain, and a new version", { setup = 0, gap = 0.3 })
  world.drain(first, "POST")
  w:await(world.other(first))
  until_after(m.at, 6)
  w:restart_proxy(first)
  until_after(m.at, 12)
  -- And back, with the other one's drain.
  m = mark("failback by hand", { setup = 0, gap = 0.3 })
  world.drain(world.other(first), "POST")
  w:await(first)
  until_after(m.at, 4)
  world.drain(world.other(first), "DELETE")
  until_after(m.at, 8)
end

local function stop_and_continue(w, mark)
  local first = w:holder(1)
  local m = mark("SIGSTOP of the proxy for 10 s", { setup = 1, gap = detection + 0.8 + skew(w) })
  w.proxies[first]:signal "STOP"
  w:await(world.other(first))
  until_after(m.at, 10)
  m.quiet = { machine = first, from = world.now(), to = world.now() + 6 }
  w.proxies[first]:signal "CONT"
  until_after(m.at, 16)
  return first
end

function standby.stop(w, mark)
  stop_and_continue(w, mark)
end

local function end_keepalived(w, mark)
  local first = w:holder(1)
  local m = mark("SIGTERM of keepalived", { setup = 0, gap = skew(w) })
  w:stop_keepalived(first)
  w:await(world.other(first))
  until_after(m.at, 6)
  return first, m
end

function standby.keepalived(w, mark)
  local first, m = end_keepalived(w, mark)
  w:start_keepalived(first)
  until_after(m.at, 10)
end

local function split(w, mark)
  local m = mark("split brain for 30 s", { setup = 0, gap = 1 })
  w:split(30)
  until_after(m.at, 36)
end

function standby.split(w, mark)
  split(w, mark)
end

-- ---- two addresses, each at home on one machine ----

local both = {}

-- sip1 is well again: its address comes home.
local function come_home(w, mark, seconds, act)
  local m = mark("failback", { setup = 0, gap = 0.3 })
  act()
  w:await("sip1", 1, 30)
  process.sleep(seconds)
  return m
end

function both.kill(w, mark)
  local m = mark("kill -9 of one proxy", { setup = 1, ended = 5, gap = detection + skew(w) })
  w:kill "sip1"
  w:await "sip2"
  until_after(m.at, 8)
  come_home(w, mark, 4, function() w:start_proxy "sip1" end)
end

function both.restart(w, mark)
  kill_and_restart(w, mark)
  w:await("sip1", 1, 30) -- the checks may have seen it
end

function both.cut(w, mark)
  local m = mark("link of one cut", { setup = 1, gap = silence(w) })
  w.lan:cut "sip1"
  process.eventually(20, function() return w:has "sip2" end)
  until_after(m.at, 8)
  come_home(w, mark, 4, function() w.lan:mend "sip1" end)
end

function both.drain(w, mark)
  local m = mark("planned drain, and a new version", { setup = 0, gap = 0.3 })
  world.drain("sip1", "POST")
  w:await "sip2"
  until_after(m.at, 6)
  come_home(w, mark, 4, function() w:restart_proxy "sip1" end)
end

function both.stop(w, mark)
  local first = stop_and_continue(w, mark)
  w:await(first, 1, 30)
  process.sleep(3)
end

function both.keepalived(w, mark)
  end_keepalived(w, mark)
  come_home(w, mark, 4, function() w:start_keepalived "sip1" end)
end

function both.split(w, mark)
  split(w, mark)
end

-- ---- one machine, no keepalived ----

-- Calls are up, nobody calls any more, and the process is another one.
function faults.single(w, say)
  local marks = {}
  local function mark(what)
    say(what)
    marks[#marks + 1] = { what = what, at = world.now(), vip = 1, limits = { setup = 0 } }
  end
  mark "systemctl restart, calls up"
  w:restart_proxy "sip1"
  process.sleep(3)
  mark "kill -9, started again, calls up"
  w:kill "sip1"
  process.sleep(0.1)
  w:start_proxy "sip1"
  process.sleep(3)
  marks.over = world.now()
  return marks
end

-- ---- in order ----

local order = { "kill", "restart", "cut", "drain", "stop", "keepalived", "split" }
faults.order = order

-- The faults of these names (all), one after another. say(words) tells of progress.
function faults.run(w, names, say)
  local marks = {}
  local kinds = w.layout == "two-vips" and both or standby
  for _, name in ipairs(names or order) do
    assert(kinds[name], "no fault " .. name)(w, function(what, limits)
      say(what)
      local m = { what = what, at = world.now(), vip = 1, limits = limits }
      marks[#marks + 1] = m
      return m
    end)
  end
  marks.over = world.now()
  return marks
end

return faults
