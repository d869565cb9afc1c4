-- lua5.4 spec/support/sim_scenario.lua SEED: one run with everything random in
-- it; prints its trace hash. The determinism spec runs it in two processes.
local sim = require "tandem.sim"

local script = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060",
  { "tls:0.0.0.0:5061", cert = "sip.pem", key = "sip.key" } }
local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:10.0.0.1", tier = 1 },
    { name = "b", uri = "sip:b.example.com;transport=tcp", tier = 2 },
  },
  check = { interval = 2 },
})
sip.every(3, function()
  local keys = {}
  for key in pairs { x = 1, y = 2, z = 3, [4] = 4 } do keys[#keys + 1] = tostring(key) end
  sip.log.info("tick", { at = os.time(), random = math.random(1000), keys = table.concat(keys) })
end)
sip.route(function(req) return req:relay(pbx) end)
]]

local function run(seed)
  local net = sim.new {
    seed = seed, source = script, workers = 2,
    link = {
      loss = 0.1, delay = 0.01, jitter = 0.02, duplicate = 0.05, reorder = 0.05, chunk = 300,
    },
    dns = { ["b.example.com"] = { "10.0.0.2", ttl = 5 } },
  }
  local second = net:node()
  local a, b = net:uas("10.0.0.1", "a"), net:uas("tcp:10.0.0.2", "b")
  local alice, carol = net:uac("192.0.2.7", "alice"), net:uac("192.0.2.8", "carol")
  local dave, erin = net:uac("tcp:192.0.2.9", "dave"), net:uac("tls:192.0.2.10", "erin")
  a:ring(1)
  b:ring(2)
  for i = 1, 10 do
    local call = alice:call "sip:bob@example.com"
    carol:invite("sip:bob@example.com", { proxy = net.nodes[2].addr })
    dave:invite "sip:bob@example.com"
    erin:invite "sip:bob@example.com"
    if call.state == "up" then
      alice:bye(call)
    end
    if i == 5 then
      a:silence()
      second:pause { buffer = 5000 }
    elseif i == 6 then
      second:resume()
    elseif i == 8 then
      net:split(net.nodes[1].ip, { net.nodes[1], second }, { random = true })
    end
    net:run(3)
  end
  local hash = net:trace_hash()
  net:finish()
  return hash
end

print(run(tonumber(arg[1])))
