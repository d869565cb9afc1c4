-- For specs of DNS: a proxy that resolves what a request asks for, and what it was
-- told.
--
--   local world = resolve.new { dns = { ["a.example"] = "10.0.0.1" } }
--   world:resolve("sip:a.example").places      -- "0 udp:10.0.0.1:5060"
--   world:asked()                              -- "a.example NAPTR, ..."
local sim = require "support.sim"
local assert, ipairs, setmetatable, table = assert, ipairs, setmetatable, table
local tostring = tostring

local _ENV = nil

local resolve = {}

local script = [[
local sip = require "tandem"
sip.listen { %s }
%s
sip.route(function(req)
  local began = sip.now()
  local list, err = sip.resolve(req:header "X-Uri", { key = req:header "X-Key" })
  local words = {}
  for i, place in ipairs(list or {}) do
    words[i] = ("%%d %%s:%%s"):format(place.rank, place.transport, place.address)
      .. (place.weight > 0 and " " .. place.weight or "")
  end
  sip.log.info(err or table.concat(words, ", "), {
    took = sip.now() - began, ttl = list and list.ttl or -1, stale = list and list.stale or false,
  })
  return req:reply(200)
end)
]]

local World = {}
World.__index = World

local function source(opts)
  local listen = opts.listen or '"udp:0.0.0.0:5060", "tcp:0.0.0.0:5060"'
  return script:format(listen, opts.settings or "")
end

---@param opts { dns: table, workers: integer?, listen: string?, settings: string? }
function resolve.new(opts)
  local net = sim.new { source = source(opts), workers = opts.workers, dns = opts.dns }
  return setmetatable({ net = net, alice = net:uac "192.0.2.7", seen = 0 }, World)
end

-- The same script with other options.
function World:reload(opts)
  assert(self.net:reload { source = source(opts) })
end

-- Begins to resolve; what came out is in the last of self:said().
function World:begin(uri, key)
  self.alice:request("OPTIONS", "sip:example.com", {
    call_id = "one-worker", -- has them all: each worker has a cache of its own
    headers = { ["X-Uri"] = uri, ["X-Key"] = key or "key" },
  })
end

function World:said()
  local list = {}
  for _, event in ipairs(self.net.events) do
    if event.event == "script" then
      list[#list + 1] = {
        places = event.message, took = event.took, ttl = event.ttl,
        stale = tostring(event.stale) == "true",
      }
    end
  end
  return list
end

-- { places, took, ttl, stale }; `places` is the error when there is one.
function World:resolve(uri, key)
  local before = #self:said()
  self:begin(uri, key)
  assert(self.net:run_until(function()
    return #self:said() > before
  end, 30))
  return self:said()[before + 1]
end

-- What was asked since the last time, sorted by time and then by name.
function World:asked()
  local list = {}
  for i, query in ipairs(self.net:queries()) do
    if i > self.seen then
      list[#list + 1] = ("%012.6f %s %s"):format(query.time, query.name, query.type)
    end
  end
  self.seen = #self.net:queries()
  table.sort(list)
  for i, line in ipairs(list) do
    list[i] = line:sub(14)
  end
  return table.concat(list, ", ")
end

return resolve
