-- For specs of what is on the wire: a network with a primary and a backup, scripts
-- in short, and requests as text.
local sim = require "support.sim"
local ipairs, next, table = ipairs, next, table

local _ENV = nil

local wire = {}

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
%s
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:10.0.0.1", tier = 1 },
    { name = "b", uri = "sip:10.0.0.2", tier = 2 },
  },
  check = false, passive = { fall = 1000 }, %s
})
local a, b = pbx:server "a", pbx:server "b"
local _ = a, b
sip.route(function(req)
%s
end)
]]

-- What a script of these specs does unless they say: a, then b, two seconds each.
wire.failover = [[
  for server in pbx:each(req) do
    local res, err = req:try(server, { timeout = 2 })
    if err == "cancelled" then return end
    if res and res.code ~= 503 then return res:forward() end
  end
  return req:reply(500)
]]

-- One attempt at a, which may take its time, and what came of it.
wire.single = [[
  local res, err = req:try(a, { timeout = 60, progress_timeout = 300, ring_timeout = 600 })
  if res then return res:forward() end
  if err ~= "cancelled" then return req:reply(500) end
]]

-- A script: the body of its handler, and lines before the pool; `a`, `b` and `pbx`
-- are there.
---@param handler string?
---@param before string?
---@param pool string? more options of the pool
---@return string
function wire.script(handler, before, pool)
  return frame:format(before or "", pool or "", handler or wire.failover)
end

-- The network: proxy, servers a and b, alice. opts: workers, handler, before, pool,
-- and whatever sim.new takes.
---@param opts table?
function wire.world(opts)
  opts = opts or {}
  local net = sim.new {
    source = opts.source or wire.script(opts.handler, opts.before, opts.pool),
    workers = opts.workers, seed = opts.seed or 1, key = opts.key, link = opts.link,
    t1 = opts.t1, t2 = opts.t2, addr = opts.addr,
  }
  return net, net:uas("10.0.0.1", "a"), net:uas("10.0.0.2", "b"),
    net:uac("192.0.2.7", "alice")
end

-- Text of a spec as it goes out: without indentation, lines end with CRLF, and the
-- header ends.
---@param text string
---@return string
function wire.bytes(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    lines[#lines + 1] = line:match "^%s*(.-)%s*$"
  end
  if lines[#lines] == "" then
    lines[#lines] = nil
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- "INVITE 100 180": methods and codes, in order.
---@param list tandem.sim.Message[]
---@return string
function wire.names(list)
  local names = {}
  for i, message in ipairs(list) do
    names[i] = message.method or ("%d"):format(message.code)
  end
  return table.concat(names, " ")
end

-- When the messages came, seconds after `start`.
---@param list tandem.sim.Message[]
---@param start number?
---@return number[]
function wire.times(list, start)
  local times = {}
  for i, message in ipairs(list) do
    times[i] = ((message.time - (start or 0)) * 1e6 + 0.5) // 1 / 1e6
  end
  return times
end

-- What lives in the proxy: "requests servers clients" of all its workers.
---@param net tandem.sim.Net
---@return { requests: integer, servers: integer, clients: integer, bytes: integer }
function wire.alive(net)
  local sum = { requests = 0, servers = 0, clients = 0, bytes = 0 }
  for worker = 1, net.nodes[1].workers do
    local stats = net.nodes[1]:stats(worker)
    for name, value in next, sum do
      sum[name] = value + stats[name]
    end
  end
  return sum
end

-- The branches of these requests: one for each transaction.
---@param list tandem.sim.Message[]
---@return string[]
function wire.branches(list)
  local branches, seen = {}, {}
  for _, request in ipairs(list) do
    if not seen[request.branch] then
      seen[request.branch] = true
      branches[#branches + 1] = request.branch
    end
  end
  return branches
end

-- How often the script logged that: sip.log.info "run".
---@param net tandem.sim.Net
---@param text string
---@return integer
function wire.said(net, text)
  return net:count("script", { message = text })
end

return wire
