-- What is asked of a proxy: the messages, the transport, and how many servers it has to
-- choose from. Callers and servers are sipp with scenarios of spec/e2e/sipp, or of
-- spec/bench/sipp; one process of each.
local assert, string, table = assert, string, table

local _ENV = nil

local workload = {}

local proxies = { "tandem", "kamailio" }
local all = { "tandem", "kamailio", "relay" }

-- call, answer: scenarios. unit: what is counted. routed: the method that the script
-- routes; messages: through the proxy, per call. rates: calls per second, "max" for the
-- highest that is carried. peers: who is compared, at_max: whose highest rate is looked for;
-- the relay does not know what it passes on, and is not asked twice for the same bytes.
workload.kinds = {
  udp = { title = "calls over UDP", transport = "udp", servers = 2, unit = "call",
    call = "spec/e2e/sipp/call.xml", answer = "spec/e2e/sipp/answer.xml",
    routed = "INVITE", messages = 6, rates = { 500, 1000, 2000, "max" },
    peers = all, at_max = all },
  tcp = { title = "calls over TCP", transport = "tcp", servers = 2, unit = "call",
    call = "spec/e2e/sipp/call.xml", answer = "spec/e2e/sipp/answer.xml",
    routed = "INVITE", messages = 6, rates = { 2000, "max" }, peers = all, at_max = proxies },
  pool = { title = "calls over UDP, 200 servers in turn", transport = "udp", servers = 200,
    unit = "call", call = "spec/e2e/sipp/call.xml", answer = "spec/e2e/sipp/answer.xml",
    routed = "INVITE", messages = 6, rates = { 2000, "max" }, peers = proxies,
    at_max = proxies },
  register = { title = "REGISTER over UDP", transport = "udp", servers = 2, unit = "request",
    call = "spec/bench/sipp/register.xml", answer = "spec/bench/sipp/registrar.xml",
    routed = "REGISTER", messages = 2, rates = { 2000, "max" }, peers = all, at_max = proxies },
}

function workload.get(name)
  return assert(workload.kinds[name])
end

-- So many addresses of callers, as sipp wants them injected.
function workload.addresses(n)
  local lines = { "SEQUENTIAL" }
  for i = 1, n do
    lines[#lines + 1] = string.format("127.0.%d.%d;", 2 + (i - 1) // 250, 1 + (i - 1) % 250)
  end
  return table.concat(lines, "\n") .. "\n"
end

-- The servers of a workload, best first: { { name =, host =, port = } }. Two have ports of
-- their own; many have addresses of their own and one port, where one sipp answers for all.
function workload.servers(kind, ports)
  local list = {}
  for i = 1, kind.servers do
    list[i] = kind.servers == 2
      and { name = i == 1 and "a" or "b", host = "127.0.0.1", port = ports.servers[i] }
      or { name = "s" .. i, host = "127.0.1." .. i, port = ports.servers[1] }
  end
  return list
end

-- The text of a scenario for sipp. Options: hold and ring, in milliseconds; callers.
function workload.scenario(kind, text, name, o)
  local values = { name = name, hold = o.hold or 0, ring = o.ring or 0,
    uri = "sip:bob@example.com" }
  text = string.gsub(text, "%%{(%w+)}", values)
  if o.callers and name == "caller" then
    text = string.gsub(text, "%[local_ip%]", "[field0]")
    text = string.gsub(text, "%[local_port%]", o.ports.caller)
  end
  text = string.gsub(text, "%[local_ip%]", "127.0.0.1") -- of who answers at all addresses, too
  if kind.transport == "tcp" then -- what is sent to a Contact goes by TCP, too
    text = string.gsub(text, "%[local_port%]>", "[local_port];transport=tcp>")
  end
  return text
end

return workload
