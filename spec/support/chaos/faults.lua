-- What goes wrong. Each kind is a function of the run: it does it, and returns how it is
-- undone (nil: it is over). How often and whether at all the plan says.
local policies = require "support.chaos.policies"
local random = require "support.chaos.random"
local ipairs, math, setmetatable, table = ipairs, math, setmetatable, table

local _ENV = nil

local faults = {}

local kinds = {}

local function server(w)
  return w.rnd:pick(w.servers)
end

local function phone(w)
  return w.rnd:pick(w.phones)
end

local function running(w)
  local list = {}
  for _, node in ipairs(w.nodes) do
    if node.workers > 0 then
      list[#list + 1] = node
    end
  end
  return list[1] and w.rnd:pick(list)
end

-- ---- servers and phones --------------------------------------------------

local function mode(name)
  return function(at)
    at[name](at)
    return function()
      if at.mode ~= "open" then
        at:resume()
      end
    end
  end
end

function kinds.server_crash(w) return mode "crash"(server(w)) end
function kinds.server_power_off(w) return mode "power_off"(server(w)) end
function kinds.server_pause(w) return mode "stall"(server(w)) end
function kinds.server_refuses(w) return mode "refuse"(server(w)) end
function kinds.phone_crash(w) return mode "crash"(phone(w)) end
function kinds.phone_pause(w) return mode "silence"(phone(w)) end

function kinds.server_says(w)
  local at = server(w)
  at.says = w.rnd:pick { 503, 503, 500, 486, 408, 404 }
  return function() at.says = nil end
end

function kinds.server_forgets(w)
  local at = server(w)
  at.forgets = true
  return function() at.forgets = nil end
end

function kinds.server_ignores_bye(w)
  local at = server(w)
  at.deaf = true
  return function() at.deaf = nil end
end

-- ---- the network ---------------------------------------------------------

local function ends(w)
  local at = w.rnd:chance(0.5) and server(w) or phone(w)
  return at, w.rnd:pick(w.nodes)
end

function kinds.partition(w)
  local a, b = ends(w)
  w.net:partition(a, b)
  return function() w.net:heal(a, b) end
end

function kinds.partition_oneway(w)
  local a, b = ends(w)
  if w.rnd:chance(0.5) then
    a, b = b, a
  end
  w.net:partition(a, b, { oneway = true })
  return function() w.net:heal(a, b) end
end

local function link(fields)
  return function(w)
    local a, b = ends(w)
    w.net:link(a, b, fields(w.rnd))
    return function() w.net:link(a, b, w.plan.link) end
  end
end

kinds.loss = link(function(rnd) return { loss = rnd:between(0.1, 0.7) } end)
kinds.delay = link(function(rnd)
  return { delay = rnd:between(0.05, 1.5), jitter = rnd:between(0, 0.5) }
end)
kinds.duplicates = link(function(rnd) return { duplicate = rnd:between(0.2, 1) } end)
kinds.reordering = link(function(rnd) return { reorder = rnd:between(0.2, 1), jitter = 0.05 } end)

function kinds.chunks(w)
  local a, b = ends(w)
  w.net:link(a, b, { chunk = w.rnd:int(200) })
  return function() w.net:link(a, b, { chunk = 0 }) end
end

function kinds.cuts(w)
  local a, b = ends(w)
  w.net:link(a, b, { cut = 500 * w.rnd:int(20) })
  return function() w.net:link(a, b, { cut = 0 }) end
end

function kinds.resets(w)
  local at = w.rnd:chance(0.5) and server(w) or phone(w)
  at:reset()
end

-- ---- names ---------------------------------------------------------------

function kinds.resolver(w)
  local how = w.rnd:pick { "slow", "silent", "refuse", "servfail", "garbage" }
  w.net:resolver(how, how == "slow" and w.rnd:between(0.1, 3) or nil)
  return function() w.net:resolver "ok" end
end

function kinds.dns_change(w)
  for _, one in ipairs(w.plan.servers) do
    if one.host ~= one.ip then
      local other = w.rnd:pick(w.plan.servers)
      local records = w.rnd:chance(0.3) and { negative = 2 } or { other.ip, ttl = w.rnd:int(5) }
      w.net:dns(one.host, records)
      return function() w.net:dns(one.host, { one.ip, ttl = 2 }) end
    end
  end
end

-- ---- proxies -------------------------------------------------------------

function kinds.proxy_crash(w)
  local node = running(w)
  return node and w:down(node, w.rnd:chance(0.7) and "crash" or "power_off")
end

function kinds.proxy_stop(w)
  local node = running(w)
  return node and w:down(node, "stop")
end

function kinds.proxy_drain(w)
  local node = running(w)
  if node then
    local life = w.model.lives[node.id]
    node:drain(true)
    life.draining = w.trace.now
    return function()
      if not life.over then
        node:drain(false)
        life.draining = nil
      end
    end
  end
end

-- The address moves to the other machine; with a crash or, as in a split brain that
-- flaps, without.
function kinds.vip_moves(w)
  if w.plan.layout ~= "pair" then
    return
  end
  w:move_vip()
  local back = w.rnd:chance(0.3)
  return back and function() w:move_vip() end or nil
end

function kinds.vip_flaps(w)
  if w.plan.layout ~= "pair" then
    return
  end
  for i = 1, w.rnd:int(8) do
    w:later(i * w.rnd:between(0.1, 0.8), function() w:move_vip() end)
  end
end

-- Both of a pair have the address, and what is sent to it reaches both, either by chance,
-- or each in turn: that of all, or of one sender alone.
function kinds.split_brain(w)
  if w.plan.layout ~= "pair" then
    return
  end
  local how = w.rnd:pick { {}, { random = true }, { switch = 0.1 * w.rnd:int(20) } }
  how.from = w.rnd:chance(0.3) and (ends(w)) or nil
  w:split_vip(how)
  return function() w:unite_vip() end
end

-- The cluster key is replaced, as the how-to says: first all know the new one, then all sign
-- with it. Once in a run: to be rid of the old one takes as long as the longest call.
function kinds.key_rotation(w)
  if w.rotates or not w:use_keys { w.key, "fedcba9876543210" } then
    return
  end
  w.rotates = true
  return function() w:swap_keys() end
end

function kinds.clock(w)
  w.rnd:pick(w.nodes):skew(w.rnd:between(-7200, 7200))
end

function kinds.no_memory(w)
  local node = running(w)
  if not node then
    return
  end
  local worker = w.rnd:int(node.workers)
  local which = w.rnd:pick { "core", "core", "node" }
  w.model:impair(node.id, true)
  local life = w.model.lives[node.id]
  node:fail_alloc(w.rnd:int(300), { worker = worker, which = which, row = w.rnd:int(3) })
  return function()
    if not life.over then
      node:fail_alloc(0, { worker = worker, which = which })
      w.model:impair(node.id, nil)
    end
  end
end

-- ---- scripts and operators -----------------------------------------------

local broken = {
  "this is not Lua", "error 'on purpose'", "local sip = require 'nothing'",
  "local sip = require 'tandem' sip.listen { 'udp:0.0.0.0:5060' } sip.pool('pbx', { what = 1 })",
}

function kinds.reload(w)
  local node = running(w)
  if not node then
    return
  elseif w.plan.example then
    node:reload()
    return
  end
  w.generation = w.generation + 1
  node:reload { source = policies.source(w.plan.policy, w.plan, w.generation) }
end

function kinds.bad_reload(w)
  local node = running(w)
  if node and not w.plan.example then
    local before = node.generation
    local ok = node:reload { source = w.rnd:pick(broken) }
    if ok or node.generation ~= before then
      w.trace:violate("I23", "a script that cannot be loaded has taken over")
    end
  end
end

function kinds.operator(w)
  local node = running(w)
  if not node or w.plan.example then
    return
  end
  local name = w.rnd:pick(w.plan.servers).name
  local function order(what)
    if node.workers > 0 then
      node:ask("order", { pool = "pbx", server = name, admin = what, who = "ctl root" })
    end
  end
  order(w.rnd:pick { "drain", "maint" })
  return function() order "ready" end
end

function kinds.override(w)
  local node = running(w)
  if not node or w.plan.example then
    return
  end
  local name = w.rnd:pick(w.plan.servers).name
  node:override(('{"set": [{"pool": "pbx", "server": "%s", "what": "weight", "value": %d, '
    .. '"is_new": true}]}'):format(name, w.rnd:int(5)))
  return function()
    if node.workers > 0 then
      node:override '{"clear_all": true}'
    end
  end
end

-- ---- strangers -----------------------------------------------------------

local decoys = { "203.0.113.66", "224.0.0.9", "255.255.255.255" }

local function forged(w, start, extra, method)
  local token = w.net:token(10)
  return table.concat({
    start, ("Via: SIP/2.0/UDP %s;branch=z9hG4bK%s;rport"):format(w.stranger.addr, token), extra,
    "Max-Forwards: " .. w.rnd:pick { 0, 1, 70, 255 }, "From: <sip:x@example.org>;tag=" .. token,
    "To: <sip:y@example.com>" .. (w.rnd:chance(0.5) and ";tag=" .. token or ""),
    "Call-ID: " .. token, "CSeq: 1 " .. method, ("Contact: <sip:x@%s>"):format(w.rnd:pick(decoys)),
    "Content-Length: 0", "", "",
  }, "\r\n")
end

-- An answer to a request that a proxy has sent, in a branch that is nearly right, for the
-- stranger's choice of a caller (semantics 19).
local function misled(w, decoy)
  local world = w.net.world
  local n = world:packets()
  for _ = 1, n > 0 and 20 or 0 do
    local _, _, _, bytes, _, node = world:packet(w.rnd:int(n))
    local via, rest = bytes:match "^INVITE [^\r]*\r\n(Via:[^\r]*;branch=z9hG4bK%x+[^\r]*)\r\n(.*)"
    if node ~= 0 and via then
      local lines = { "SIP/2.0 " .. w.rnd:pick { "180 Ringing", "200 OK", "486 Busy Here" } }
      lines[2] = via:gsub("(;branch=z9hG4bK%x%x)(%x)", function(before, digit)
        return before .. (digit == "0" and "1" or "0")
      end)
      lines[3] = ("Via: SIP/2.0/UDP %s;branch=z9hG4bKx;received=%s;rport=5060"):format(decoy, decoy)
      for _, name in ipairs { "From", "To", "Call%-ID", "CSeq" } do
        lines[#lines + 1] = rest:match("\n(" .. name .. ": [^\r]*)")
      end
      lines[#lines + 1] = "Content-Length: 0\r\n\r\n"
      return table.concat(lines, "\r\n")
    end
  end
  return "\r\n\r\n"
end

local tricks = {
  function(w, decoy) -- a way of its own
    return forged(w, "INVITE sip:y@example.com SIP/2.0", ("Route: <sip:%s;lr>"):format(decoy),
      "INVITE")
  end,
  function(w, decoy) return forged(w, ("BYE sip:y@%s SIP/2.0"):format(decoy), "X: 1", "BYE") end,
  function(w, decoy)
    return forged(w, ("OPTIONS sip:%s SIP/2.0"):format(decoy), "X: 1", "OPTIONS")
  end,
  function(w, decoy) return forged(w, ("ACK sip:y@%s SIP/2.0"):format(decoy), "X: 1", "ACK") end,
  function(w) return forged(w, "CANCEL sip:y@example.com SIP/2.0", "X: 1", "CANCEL") end,
  function(w, decoy) -- an answer to nothing
    return (forged(w, "SIP/2.0 200 OK", ("Via: SIP/2.0/UDP %s;branch=z9hG4bK1"):format(decoy),
      "INVITE"))
  end,
  function(w) return ("x"):rep(w.rnd:int(1400)) end,
  function() return "\r\n\r\n" end,
  misled,
  function(w) -- as short as may be
    return w.rnd:pick { "INVITE", "OPTIONS", "PUBLISH" } .. " sip:y SIP/2.0\r\nv:SIP/2.0/UDP a"
      .. ";branch=z9hG4bK" .. w.net:token(6) .. "\r\nf:<sip:x>;tag=1\r\nt:<sip:y>\r\nl:0\r\ni:"
      .. w.net:token(6) .. "\r\nCSeq:1 " .. w.rnd:pick { "INVITE", "OPTIONS" } .. "\r\n\r\n"
  end,
}

-- The cookie of a call that is up, for a place of the stranger's choice.
local function stolen(w, decoy)
  for i = #w.traffic.calls, math.max(1, #w.traffic.calls - 20), -1 do
    local call = w.traffic.calls[i]
    local routes = call.dialog and call.dialog.routes
    if routes and routes[1] then
      return forged(w, ("BYE sip:y@%s SIP/2.0"):format(decoy), "Route: " .. routes[1], "BYE")
    end
  end
end

function kinds.stranger(w)
  for _ = 1, w.rnd:int(10) do
    local decoy = w.rnd:pick(decoys)
    local bytes = w.rnd:chance(0.2) and stolen(w, decoy) or w.rnd:pick(tricks)(w, decoy)
    w.stranger:send(bytes, w.rnd:pick(w.nodes).addr)
  end
end

-- What was sent once, sent again by somebody else (from another address).
function kinds.replay(w)
  local n = w.net.world:packets()
  for _ = 1, n > 0 and w.rnd:int(10) or 0 do
    local _, _, _, bytes, _, node = w.net.world:packet(w.rnd:int(n))
    if node == 0 then
      w.stranger:send(bytes, w.rnd:pick(w.nodes).addr)
    end
  end
end

-- ---- when ----------------------------------------------------------------

faults.kinds = {}
faults.decoys = {}
for _, ip in ipairs(decoys) do
  faults.decoys[ip] = true
end

-- In an order of its own: seeds depend on it.
for _, name in ipairs {
  "server_crash", "server_power_off", "server_pause", "server_refuses", "server_says",
  "server_forgets", "server_ignores_bye", "phone_crash", "phone_pause", "partition",
  "partition_oneway", "loss", "delay", "duplicates", "reordering", "chunks", "cuts", "resets",
  "resolver", "dns_change", "proxy_crash", "proxy_stop", "proxy_drain", "vip_moves",
  "vip_flaps", "clock", "no_memory", "reload", "bad_reload", "operator", "override",
  "stranger", "replay", "split_brain", "key_rotation",
} do
  table.insert(faults.kinds, name)
end

local methods = {}
methods.__index = methods

-- Everything that is to go wrong in a run, in order of time.
---@param w table the run
function faults.new(w)
  local self = setmetatable({ w = w, due = {}, serial = 0, count = {} }, methods)
  w.rnd = random.new(w.plan.seed, "faults")
  for _, fault in ipairs(w.plan.faults) do
    local rnd = random.new(w.plan.seed, fault.kind)
    local at = -math.log(1 - rnd:unit()) * fault.every
    while at < w.plan.span do
      self:at(at, fault.kind, rnd:pick { 0.2, 1, 3, 10, 30 } * (0.5 + rnd:unit()))
      at = at - math.log(1 - rnd:unit()) * fault.every
    end
  end
  return self
end

-- what: a kind, or a function.
function methods:at(time, what, lasts)
  self.serial = self.serial + 1
  time = math.floor(time * 1000) / 1000 -- as exact as the clock of the world
  table.insert(self.due, { time = time, what = what, lasts = lasts, serial = self.serial })
  table.sort(self.due, function(a, b)
    return a.time < b.time or (a.time == b.time and a.serial < b.serial)
  end)
end

function methods:next_time()
  return self.due[1] and self.due[1].time
end

function methods:happen()
  local one = table.remove(self.due, 1)
  if not kinds[one.what] then
    return one.what()
  end
  self.count[one.what] = (self.count[one.what] or 0) + 1
  local undo = kinds[one.what](self.w)
  if undo then
    self:at(one.time + one.lasts, undo)
  end
end

-- Undoes what has not been undone.
function methods:heal()
  while self.due[1] do
    local one = table.remove(self.due, 1)
    if not kinds[one.what] then
      one.what()
    end
  end
end

return faults
