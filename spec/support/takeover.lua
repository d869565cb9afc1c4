-- For specs of what survives a node: two of them with one key and one script, of which
-- the first has the address that callers use; servers, a caller, and what became of a
-- call at both ends.
local sim = require "support.sim"
local coroutine, error, ipairs, math, next = coroutine, error, ipairs, math, next
local pcall, setmetatable, string, table, type = pcall, setmetatable, string, table, type

local _ENV = nil

local takeover = { uri = "sip:bob@example.com", key = "0123456789abcdef" }

local frame = [[
local sip = require "tandem"
sip.listen { %s }
%s
local pbx = sip.pool("pbx", {
  servers = { %s }, %s, passive = { fall = 1000 }, %s
})
local function relay(req) return req:relay(pbx) end
local _ = relay
sip.route(%s)
]]

-- As examples/failover.lua.
takeover.failover = [[function(req)
  for server in pbx:each(req) do
    local res, err = req:try(server, { timeout = 2 })
    if err == "cancelled" then return end
    if res and res.code ~= 503 then return res:forward() end
  end
  return req:reply(500)
end]]

-- How a request may be decided, by name: the handler, and options of the pool.
takeover.policies = {
  ["failover.lua"] = { handler = takeover.failover },
  relay = { handler = "relay" },
  weighted = { handler = "relay", pool = 'policy = "weighted"', one_tier = true },
  hash = { handler = "relay", pool = 'policy = "hash"', one_tier = true },
}

local v4 = {
  vip = "10.0.0.200", own = { "10.0.0.101", "10.0.0.102" }, server = "10.0.0.%d",
  alice = "192.0.2.7", carol = "192.0.2.8",
}
local v6 = {
  vip = "2001:db8::200", own = { "2001:db8::101", "2001:db8::102" },
  server = "2001:db8::%d", alice = "2001:db8:7::7", carol = "2001:db8:7::8",
}

local function host(ip)
  return ip:find ":" and "[" .. ip .. "]" or ip
end

local function listeners(at)
  local list = {}
  for _, ip in ipairs { at.vip, at.own[1], at.own[2] } do
    list[#list + 1] = ('"udp:%s:5060"'):format(host(ip))
    list[#list + 1] = ('"tcp:%s:5060"'):format(host(ip))
  end
  return table.concat(list, ", ")
end

local function servers(at, opts)
  local list = {}
  local transport = opts.to and opts.to ~= "udp" and ";transport=" .. opts.to or ""
  for i = 1, 2 do
    list[i] = ('{ name = "%s", uri = "sip:%s%s", tier = %d, %s }'):format(("ab"):sub(i, i),
      host(at.server:format(i)), transport, opts.one_tier and 1 or i, opts.server or "")
  end
  return table.concat(list, ", ")
end

-- Do they know of each other?
local function settings(at, opts)
  local nodes = opts.nodes and ('sip.settings { nodes = { "%s", "%s" } }'):format(
    host(at.own[1]), host(at.own[2])) or ""
  return nodes .. "\n" .. (opts.before or "")
end

---@class spec.takeover.World
local methods = {}
local class = { __index = methods }

-- opts, of the script: policy (of takeover.policies, "failover.lua") or handler; pool,
-- checks (none) and server, options of the pool and of each server; one_tier; before,
-- lines at its beginning; nodes, whether they know of each other. Of the network: from and
-- to ("udp", "tcp": how callers and servers talk), v6, workers, seed, link, t1; servers, a
-- function that tells each endpoint how to answer; alive (see die).
-- Gives a world: net, one, two (nodes), a, b (servers), alice, carol, vip.
---@param opts table?
---@return spec.takeover.World
function takeover.open(opts)
  local conf = {}
  for name, value in next, takeover.policies[opts and opts.policy or "failover.lua"] do
    conf[name] = value
  end
  for name, value in next, opts or {} do
    conf[name] = value
  end
  local at = conf.v6 and v6 or v4
  local from, to = conf.from or "udp", conf.to or "udp"
  local net = sim.new {
    source = frame:format(listeners(at), settings(at, conf), servers(at, conf),
      conf.checks or "check = false", conf.pool or "", conf.handler),
    workers = conf.workers, seed = conf.seed, link = conf.link, key = takeover.key,
    addr = { at.own[1], at.vip }, t1 = conf.t1,
  }
  local w = setmetatable({ net = net, one = net.nodes[1], vip = at.vip, at = at,
    alive = conf.alive }, class)
  w.two = net:node { addr = at.own[2], key = takeover.key }
  local proxy = from .. ":" .. host(at.vip) .. ":5060"
  for i, name in ipairs { "a", "b" } do
    w[name] = net:uas(to .. ":" .. host(at.server:format(i)), { name = name,
      proxy = to .. ":" .. host(at.vip) .. ":5060" })
  end
  for _, name in ipairs { "alice", "carol" } do
    w[name] = net:uac(from .. ":" .. host(at[name]), { name = name, proxy = proxy })
  end
  for _, name in ipairs(conf.servers and { "a", "b", "alice" } or {}) do
    conf.servers(w[name])
  end
  return w
end

-- The first machine is lost, and the second has the address after so many seconds. In a
-- world that was opened with `alive` the address moves, and nobody dies.
---@param gap number? 0
function methods:die(gap)
  if not self.alive then
    self.one:power_off()
  end
  if not gap or gap == 0 then
    return self.two:take(self.vip)
  end
  self.net:after(gap, function()
    self.two:take(self.vip)
  end)
end

-- The first machine is back, and has the address again.
function methods:fail_back()
  self.one:start()
  self.one:take(self.vip)
end

-- The transactions of a method that the servers have seen, one for each branch; without
-- those in dialogs. `what`: for one Call-ID.
---@param method string
---@param call tandem.sim.Call?
---@return integer
function methods:transactions(method, call)
  local n, seen = 0, {}
  for _, server in ipairs { self.a, self.b } do
    for _, request in ipairs(server:got(method)) do
      local key = server.name .. request.branch
      if not seen[key] and not request.to_tag and (not call or request.call_id == call.id) then
        seen[key] = true
        n = n + 1
      end
    end
  end
  return n
end

-- What left a node since a moment: "INVITE", "200" ..., each with where to.
---@param node tandem.sim.Node
---@param since number?
---@return string[]
function methods:sent_by(node, since)
  local list = {}
  for _, packet in ipairs(self.net:packets()) do
    if packet.node == node.id and packet.time >= (since or 0) and packet.fate ~= "nobody" then
      local what = packet.bytes:match "^SIP/2%.0 (%d+)" or packet.bytes:match "^%u+"
      list[#list + 1] = what .. " " .. self.net:name_of(packet.to, packet.to_machine)
    end
  end
  return list
end

-- Of a counter of drops, both nodes.
function methods:dropped(reason)
  local sum = 0
  for _, node in ipairs { self.one, self.two } do
    if node.workers > 0 then
      sum = sum + node:metric("tandem_dropped_total", { reason = reason })
    end
  end
  return sum
end

-- ---- many calls at once ----------------------------------------------------

-- In a story: some seconds later, or when that is true.
function methods:sleep(seconds)
  local over = false
  self.net:after(seconds, function()
    over = true
  end)
  self:await(function()
    return over
  end)
end

---@param what tandem.sim.Call|fun(): any a call: until its final response is in
function methods.await(_, what)
  coroutine.yield(type(what) == "function" and what or function()
    return what.done
  end)
end

-- One that goes on when what it waits for has come.
local function resume(story)
  if story.is_over or not story.waits_for() then
    return
  end
  local ok, waits_for = coroutine.resume(story.thread)
  if not ok then
    error(waits_for, 0)
  end
  story.waits_for = waits_for
  story.is_over = coroutine.status(story.thread) == "dead"
end

-- Tells stories side by side: each is a function that may sleep and await, and begins at
-- its time. What they return is in `result`.
---@param list { at: number, tell: function, result: any }[]
---@param max number? seconds for all of them
function methods:tell(list, max)
  for _, story in ipairs(list) do
    story.thread = coroutine.create(function()
      story.result = story.tell(self)
    end)
    story.waits_for = function() return false end
    self.net:after(story.at - self.net.now, function()
      story.waits_for = function() return true end
    end)
  end
  return self.net:run_until(function()
    local left = 0
    for _, story in ipairs(list) do
      resume(story)
      left = left + (story.is_over and 0 or 1)
    end
    return left == 0
  end, max or 400, math.huge)
end

-- ---- death at every moment ---------------------------------------------------

local begins = 1 -- seconds, of the undisturbed one

-- The moments at which something left a machine, from the beginning of the story, each
-- once.
local function moments(net)
  local list, seen = {}, {}
  for _, packet in ipairs(net:packets()) do
    local text = ("%.6f"):format(packet.time)
    if packet.time >= begins and not seen[text] then
      seen[text] = true
      list[#list + 1] = packet.time - begins
    end
  end
  return list
end

local function rehearse(opts, story)
  local w = takeover.open(opts)
  local only = { at = begins, tell = story }
  w:tell { only }
  local list = moments(w.net)
  w.net:run(40)
  w.net:finish()
  return list
end

-- What is wrong with that one; nil when nothing is.
local function judge(check, w, one)
  if not one.is_over then
    return "it has no end"
  end
  local ok, why = pcall(check, w, one.result)
  if not ok then
    return string.format("%s", type(why) == "table" and why.message or why)
  end
end

-- Tells a story once undisturbed, and then many times at once, so shifted that the death
-- of the first node comes to each at another moment: right after the n-th time that
-- anything was sent. The second one has the address `opts.gap` seconds later.
-- `check(w, result)` raises what is wrong with what the story returned, a call.
-- Returns the moments, and those in which something was wrong: at, why, call.
---@param opts table of takeover.open, and gap
---@param story fun(w: spec.takeover.World): tandem.sim.Call
---@param check fun(w: spec.takeover.World, call: tandem.sim.Call)
---@return number[] moments
---@return table[] wrong
---@return spec.takeover.World
function takeover.sweep(opts, story, check)
  local list = rehearse(opts, story)
  local w, stories, wrong = takeover.open(opts), {}, {}
  local death = begins + list[#list]
  for i, at in ipairs(list) do
    stories[i] = { at = death - at, tell = story, moment = at }
  end
  w.net:after(death + 0.0001, function()
    w:die(opts.gap)
  end)
  w:tell(stories)
  w.net:run(70) -- until nobody repeats anything
  for _, one in ipairs(stories) do
    local why = judge(check, w, one)
    if why then
      wrong[#wrong + 1] = { at = one.moment, why = why, call = one.result }
    end
  end
  return list, wrong, w
end

-- What went wrong, to be read: the moments and reasons, and one call flow.
---@param wrong table[]
---@return string
function takeover.report(wrong)
  local lines = {}
  for _, one in ipairs(wrong) do
    lines[#lines + 1] = ("%8.4f %s"):format(one.at, one.why:gsub("\n", " "))
  end
  if wrong[1] and wrong[1].call then
    lines[#lines + 1] = wrong[1].call:ladder()
  end
  return table.concat(lines, "\n")
end

return takeover
