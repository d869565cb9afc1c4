-- Calls over every transport and family on one side, and every one on the other: from
-- a phone to a server and from a server to a phone, hung up by who called and by who was
-- called. One proxy with all listeners and some sipp processes make all these calls;
-- each cell then looks at its own. TLS is sipp's TCP through socat.
local certs = require "support.certs"
local process = require "support.process"
local proxy = require "support.proxy"
local sipp = require "support.sipp"
local tunnel = require "support.tunnel"

local transports = { "udp", "tcp", "tls" }
local hosts = { ["4"] = "127.0.0.1", ["6"] = "[::1]" }

-- "udp4", ..., "tls6": { key =, transport =, host = }.
local sides = {}
for _, transport in ipairs(transports) do
  for _, family in ipairs { "4", "6" } do
    local key = transport .. family
    sides[#sides + 1] = { key = key, transport = transport, host = hosts[family] }
    sides[key] = sides[#sides]
  end
end

-- Servers are told apart by name, phones by address; servers that call show who they
-- are by their address, and over TLS by a certificate.
local source = [[
local sip = require "tandem"
sip.listen { %{listen} }
local pbx = sip.pool("pbx", { servers = { %{servers} }, check = false, path = "always" })
sip.pool("callers", { servers = { %{callers} }, check = false })
sip.route(function(req)
  local res = req:try(pbx:server(req.ruri.user), { timeout = 5 })
  if res then return res:forward() end
  return req:reply(500)
end)
]]

-- What we show to servers.
local files_of_client = ', tls = { ca = "ca.pem", cert = "ours.pem", key = "ours.key" }'

local function bare(host)
  return (host:gsub("[%[%]]", ""))
end

-- ";transport=tcp" behind a URI.
local function parameter(side)
  return side.transport == "udp" and "" or ";transport=" .. side.transport
end

describe("calls", function()
  local port, secure, mutual -- of the listeners
  local ca
  -- By side: the port and the sipp run of a server, of a server that calls, of a phone
  -- that is called and of one that calls.
  local roles = { "server", "caller", "phone", "dialer" }
  local ports, runs = {}, {}

  -- Of the listener that such a caller comes to.
  local function listener_port(side, role)
    return side.transport ~= "tls" and port or role == "caller" and mutual or secure
  end

  -- Of the one that a call leaves by: with the same transport it is the same service.
  local function way_out(role, from, to)
    return listener_port(to, from.transport == to.transport and role or nil)
  end

  local function listeners()
    local list = {}
    for _, side in ipairs(sides) do
      local at = side.transport .. ":" .. side.host .. ":"
      if side.transport == "tls" then
        local files = 'cert = "ours.pem", key = "ours.key"'
        list[#list + 1] = ("{ %q, %s }"):format(at .. secure, files)
        list[#list + 1] = ('{ %q, %s, ca = "ca.pem", verify = true }'):format(at .. mutual,
          files)
      else
        list[#list + 1] = ("%q"):format(at .. port)
      end
    end
    return table.concat(list, ", ")
  end

  local function members(role)
    local list = {}
    for _, side in ipairs(sides) do
      list[#list + 1] = ("{ name = %q, uri = 'sip:%s:%d%s'%s }"):format(side.key, side.host,
        ports[role][side.key], parameter(side),
        side.transport == "tls" and files_of_client or "")
    end
    return table.concat(list, ", ")
  end

  -- A sipp of a role, and its tunnel; options of sipp.start.
  local function start(role, side, scenario, options)
    local outer = ports[role][side.key]
    local calls = scenario == "matrix_call"
    local to = listener_port(side, role)
    options.name = role .. "_" .. side.key
    options.host, options.port = bare(side.host), outer
    options.values = { via = side.transport:upper(), params = parameter(side), port = outer }
    options.args = options.args or {}
    if side.transport ~= "udp" then
      table.insert(options.args, 1, "-t")
      table.insert(options.args, 2, "t1")
    end
    if side.transport == "tls" then
      local inner
      inner, options.port = process.ports(2)
      local ends = { host = side.host, outer = outer, to = to,
        inner = calls and inner or options.port, own = side[role],
        ca = role ~= "phone" and ca }
      local open = calls and tunnel.client or tunnel.server
      open("tunnel_" .. options.name, ends)
      to = inner
    end
    options.proxy = calls and side.host .. ":" .. to or nil
    local run = sipp.start(scenario, options)
    if not calls then
      run:wait_bound(options.port, side.transport == "udp" and "udp" or "tcp")
    end
    runs[options.name] = run
  end

  -- Calls from a side to all sides, hung up by both: as sipp reads them.
  local function call_list(role, side)
    local lines = { "SEQUENTIAL" }
    for _, to in ipairs(sides) do
      local uri = role == "dialer" and ("sip:%s@example.com"):format(to.key)
        or ("sip:bob@%s:%d"):format(to.host, ports.phone[to.key])
      for _, ends in ipairs { "caller", "callee" } do
        lines[#lines + 1] = ("%s;%s;%s-%s-%s;%s;"):format(uri, ends, role, to.key, ends,
          to.transport)
      end
    end
    return process.write(role .. "_" .. side.key .. ".csv", table.concat(lines, "\n") .. "\n")
  end

  setup(function()
    port, secure, mutual = process.ports(3)
    for _, role in ipairs(roles) do
      ports[role] = {}
      for _, side in ipairs(sides) do
        ports[role][side.key] = process.ports(1)
      end
    end
    ca = certs.authority "ca"
    ca:issue("ours", { ips = { "127.0.0.1", "::1" } })
    for _, side in ipairs(sides) do
      local host = bare(side.host)
      side.server = ca:issue("server_" .. side.key, { ips = { host } })
      side.phone = ca:issue("phone_" .. side.key, { ips = { host } })
      -- A client is known by a name, and this is one where there is no other.
      side.caller = ca:issue("caller_" .. side.key, { subject = "/CN=" .. host })
      start("server", side, "matrix_answer", { calls = 0 })
      start("phone", side, "matrix_answer", { calls = 0 })
    end
    -- Phones are no servers of a pool: their certificates are for the system to trust.
    proxy.start { source = source, env = "SSL_CERT_FILE=" .. ca.cert, values = {
      listen = listeners(), servers = members "server", callers = members "caller",
    } }
    for _, role in ipairs { "dialer", "caller" } do
      for _, side in ipairs(sides) do
        start(role, side, "matrix_call", { calls = 2 * #sides,
          args = { "-inf", call_list(role, side), "-r", "20" } })
      end
    end
    for _, role in ipairs { "dialer", "caller" } do
      for _, side in ipairs(sides) do
        runs[role .. "_" .. side.key]:wait()
      end
    end
  end)

  teardown(process.clean)

  -- ---- what a cell looks at ----

  -- What both ends sent and received of a call: lists of messages.
  local function call(role, from, to, ends)
    local name = ("%s-%s-%s"):format(role, to.key, ends)
    local answering = role == "dialer" and "server_" or "phone_"
    local caller, callee, id = {}, {}, nil
    for _, message in ipairs(runs[role .. "_" .. from.key]:messages()) do
      if message:header "X%-Name" == name then
        id = message:header "Call%-ID"
      end
      if id and message:header "Call%-ID" == id then
        caller[#caller + 1] = message
      end
    end
    for _, message in ipairs(runs[answering .. to.key]:messages()) do
      if message:header "Call%-ID" == id then
        callee[#callee + 1] = message
      end
    end
    return caller, callee
  end

  -- The first message with this key that was received, or nil.
  local function received(messages, key)
    for _, message in ipairs(messages) do
      if message.key == key and not message.sent then
        return message
      end
    end
  end

  local function plain(text)
    return (text:gsub("%p", "%%%0"))
  end

  -- Top Via is ours, on the transport and address of that side; nothing else is above
  -- the caller's.
  local function assert_via(message, side, at)
    local vias = message:values "Via"
    assert.equal(2, #vias)
    assert.matches(("^SIP/2.0/%s %s:%d;"):format(side.transport:upper(), plain(side.host),
      at), vias[1])
    return vias[2]
  end

  -- Both our doors, or one where they are the same.
  local function assert_recorded(message, role, from, to)
    local inner = ("^<sip:[%%w%%-]*@?%s:%d%s;lr;t=%%w+>$"):format(plain(from.host),
      listener_port(from, role), plain(parameter(from)))
    local outer = ("^<sip:%s:%d%s;lr;t=%%w+>$"):format(plain(to.host),
      way_out(role, from, to), plain(parameter(to)))
    local routes = message:values "Record%-Route"
    assert.equal(from == to and 1 or 2, #routes)
    assert.matches(from == to and inner or outer, routes[1])
    assert.matches(inner, routes[#routes])
  end

  -- A call of a cell: it happened as it should, and what was on the wire.
  local function check(role, from, to, ends)
    local caller, callee = call(role, from, to, ends)
    local invite = received(callee, "INVITE")
    assert(invite, "no INVITE has arrived")
    local hidden = assert_via(invite, to, way_out(role, from, to))
    assert.matches(("^SIP/2.0/%s caller.invalid:%d;"):format(from.transport:upper(),
      ports[role][from.key]), hidden)
    assert.equal(bare(from.host), hidden:match ";received=([^;]+)")
    assert.equal(tostring(ports[role][from.key]), hidden:match ";rport=(%d+)")
    assert_recorded(invite, role, from, to)
    assert.is_truthy(received(caller, "200 INVITE"))
    assert.is_truthy(received(callee, "ACK"))
    local bye = received(ends == "caller" and callee or caller, "BYE")
    assert(bye, "no BYE has arrived")
    if ends == "caller" then
      assert_via(bye, to, way_out(role, from, to))
    else
      assert_via(bye, from, listener_port(from, role))
    end
    assert.is_nil(bye:header "Route")
    assert.is_truthy(received(ends == "caller" and caller or callee, "200 BYE"))
    assert.equal(1, #received(caller, "200 INVITE"):values "Via")
  end

  for _, from in ipairs(sides) do
    for _, to in ipairs(sides) do
      it(("by %s in and %s out"):format(from.key, to.key), function()
        for _, role in ipairs { "dialer", "caller" } do
          for _, ends in ipairs { "caller", "callee" } do
            check(role, from, to, ends)
          end
        end
      end)
    end
  end
end)
