-- The proxies that are compared: how each is told to do what a workload asks.
local program = require "bench.program"
local workload = require "bench.workload"
local error, ipairs, string, table = error, ipairs, string, table

local _ENV = nil

local peers = {}

-- Bytes: what Tandem and the relay ask for.
local receive_buffer = 4 * 1024 * 1024

-- `text` with literal replacements, { { old, new }, ... }; each must occur.
local function replaced(text, list)
  for _, pair in ipairs(list) do
    local first, last = string.find(text, pair[1], 1, true)
    if not first then
      error("it has no " .. pair[1] .. " any more", 0)
    end
    text = string.sub(text, 1, first - 1) .. pair[2] .. string.sub(text, last + 1)
  end
  return text
end

local function uri(kind, server)
  return string.format("sip:%s:%d%s", server.host, server.port,
    kind.transport == "tcp" and ";transport=tcp" or "")
end

-- examples/failover.lua with other servers, which are of one tier and take turns when
-- there are many.
local function tandem_script(kind, ports)
  local lines = {}
  for i, server in ipairs(workload.servers(kind, ports)) do
    lines[i] = string.format('    { name = "%s", uri = "%s", tier = %d },', server.name,
      uri(kind, server), kind.servers == 2 and i or 1)
  end
  local text = program.read "examples/failover.lua"
  local old = string.match(text, "\n  servers = {\n(.-)\n  },\n")
    or error("examples/failover.lua has no servers any more", 0)
  return replaced(text, {
    { "udp:127.0.0.1:5060", kind.transport .. ":127.0.0.1:" .. ports.proxy },
    { old, table.concat(lines, "\n") },
    { "  servers = {", (kind.servers == 2 and "" or '  policy = "round_robin",\n')
      .. "  servers = {" },
  })
end

local function tandem(kind, o)
  local script = program.write(o.out .. "/tandem.lua", tandem_script(kind, o.ports))
  local argv = { "build/tandem", "run", "-c", script, "--lua-dir", "lua", "-s", o.ctl or "none" }
  if o.workers then
    table.move({ "--workers", o.workers }, 1, 2, #argv + 1, argv)
  end
  return argv
end

-- Algorithm 8: by priority; 4: in turn.
local function kamailio(kind, o)
  local lines, ports, out = {}, o.ports, o.out
  for i, server in ipairs(workload.servers(kind, ports)) do
    lines[i] = string.format("1 %s 0 %d\n", uri(kind, server), kind.servers == 2 and 30 - i or 0)
  end
  local script = program.read "spec/bench/kamailio.lua"
  if kind.servers ~= 2 then
    script = replaced(script, { { "ds_select_dst(1, 8)", "ds_select_dst(1, 4)" } })
  end
  local values = {
    list = program.write(out .. "/dispatcher.list", table.concat(lines)),
    script = program.write(out .. "/kamailio.lua", script),
    listen = kind.transport .. ":127.0.0.1:" .. ports.proxy,
    disable_tcp = kind.transport == "tcp" and "no" or "yes",
    absorb = o.absorb or 5000,
  }
  local cfg = program.write(out .. "/kamailio.cfg",
    (string.gsub(program.read "spec/bench/kamailio.cfg", "%%{([%w_]+)}", values)))
  return { "kamailio", "-DD", "-E", "-m", "4096", "-M", "16", "-x", "fm", "-X", "fm",
    "-b", receive_buffer, "-Y", out, "-P", out .. "/kamailio.pid", "-f", cfg }
end

local function relay(kind, o)
  local ports = o.ports
  return { "build/bench/relay", kind.transport, ports.proxy, ports.caller, ports.servers[1] }
end

local commands = { tandem = tandem, kamailio = kamailio, relay = relay }

function peers.exists(name)
  return commands[name] ~= nil
end

-- Starts one that has taken its port when this returns. Options: ports; out, an absolute
-- folder for its files; absorb, milliseconds that a finished transaction is kept, where that
-- can be set; prefix, words before the command; of Tandem ctl, its control socket, and workers.
function peers.start(name, kind, o)
  local argv = table.move(o.prefix or {}, 1, #(o.prefix or {}), 1, {})
  for _, word in ipairs(commands[name](kind, o)) do
    argv[#argv + 1] = word
  end
  local ports = o.ports
  local p = program.start(argv, o.out .. "/" .. name .. ".log")
  local ready = program.eventually(30, function()
    return p:ended() and "ended" or program.bound(ports.proxy, kind.transport)
  end)
  if ready ~= true then
    error(string.format("%s does not serve:\n%s", name, p:output()), 0)
  end
  return p
end

return peers
