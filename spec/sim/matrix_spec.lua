-- Calls over every transport and family on one side, and every one on the other, as in
-- spec/e2e/matrix_spec.lua but with what a simulation can do besides.
local sim = require "support.sim"
local ipairs, table = ipairs, table

local transports = { "udp", "tcp", "tls" }
local hosts = {
  ["4"] = { proxy = "10.0.0.100", server = "10.0.0.1", phone = "192.0.2.7" },
  ["6"] = { proxy = "[2001:db8::100]", server = "[2001:db8::1]", phone = "[2001:db8:1::7]" },
}
local default_port = { udp = 5060, tcp = 5060, tls = 5061 }

-- "udp4", ..., "tls6": what is different about it.
local sides, listen = {}, {}
for _, transport in ipairs(transports) do
  for _, family in ipairs { "4", "6" } do
    local host = hosts[family]
    sides[#sides + 1] = {
      key = transport .. family, transport = transport, port = default_port[transport],
      proxy = host.proxy, server = host.server, phone = host.phone,
      parameter = transport == "udp" and "" or ";transport=" .. transport,
    }
    listen[#listen + 1] = ("{ '%s:%s'%s }"):format(transport, host.proxy,
      transport == "tls" and ", cert = 'sip.pem', key = 'sip.key'" or "")
  end
end

local frame = [[
local sip = require "tandem"
sip.listen { %s }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:%s%s" } }, check = false,
})
sip.route(function(req)
  if not req:relay(pbx) then return req:reply(500) end
end)
]]

local function plain(text)
  return (text:gsub("%p", "%%%0"))
end

sim.for_workers("calls", function(workers)
  after_each(sim.finish)

  local net, a, alice, from, to

  -- Where an endpoint is: "192.0.2.7:5060", "tls:192.0.2.7:5061".
  local function address(side, host)
    local scheme = side.transport == "udp" and "" or side.transport .. ":"
    return ("%s%s:%d"):format(scheme, host, side.port)
  end

  local function open(in_side, out_side)
    from, to = in_side, out_side
    net = sim.new {
      source = frame:format(table.concat(listen, ", "), to.server, to.parameter),
      workers = workers,
    }
    a = net:uas(address(to, to.server), "a")
    alice = net:uac(address(from, from.phone), {
      name = "alice", proxy = ("%s:%d"):format(from.proxy, from.port),
    })
    a.proxy = ("%s:%d"):format(to.proxy, to.port)
  end

  -- Who gets what `side` sends is told in its transport, at its address.
  local function assert_from_us(message, side)
    local vias = message:list "Via"
    assert.equal(2, #vias)
    assert.matches(("^SIP/2.0/%s %s:%d;"):format(side.transport:upper(), plain(side.proxy),
      side.port), vias[1])
    assert.is_nil(message:header "Route")
  end

  -- A phone on TLS shows no certificate: the way back is its own connection.
  local function assert_recorded(message, in_side, out_side, is_phone)
    local expected = {}
    for _, side in ipairs { out_side, in_side } do
      local flow = is_phone and side == in_side and side.transport == "tls"
      expected[#expected + 1] = ("^<sip:%s%s:%d%s;lr;t=%%w+>$"):format(
        flow and "flow1%-u%w+@" or "", plain(side.proxy), side.port, plain(side.parameter))
    end
    local routes = message:list "Record-Route"
    assert.equal(in_side == out_side and 1 or 2, #routes)
    assert.matches(expected[1], routes[1])
    assert.matches(expected[2], routes[#routes])
  end

  -- What an endpoint was sent of a call.
  local function of(endpoint, method, dialog)
    local list = {}
    for _, message in ipairs(endpoint:got(method)) do
      if message.call_id == dialog.id then
        list[#list + 1] = message
      end
    end
    return list
  end

  -- A call with re-INVITEs from both sides, which one of them hangs up.
  local function call(caller, callee, uri, in_side, out_side, ends)
    local dialog = caller:call(uri)
    assert.equal(200, dialog.code)
    local invite = of(callee, "INVITE", dialog)[1]
    assert_from_us(invite, out_side)
    assert_recorded(invite, in_side, out_side, caller == alice)
    caller:reinvite(dialog)
    net:run(0.1)
    callee:reinvite(dialog)
    net:run(0.1)
    assert.equal(1, #of(caller, "INVITE", dialog))
    assert.equal(2, #of(callee, "INVITE", dialog))
    local other = ends == caller and callee or caller
    ends:bye(dialog)
    net:run(0.1)
    local byes = of(other, "BYE", dialog)
    assert.equal(1, #byes)
    assert_from_us(byes[1], other == caller and in_side or out_side)
    assert.equal(0, caller.unacked + callee.unacked)
  end

  for _, in_side in ipairs(sides) do
    for _, out_side in ipairs(sides) do
      it(("by %s in and %s out"):format(in_side.key, out_side.key), function()
        open(in_side, out_side)
        local phone = ("sip:alice@%s:%d%s"):format(from.phone, from.port, from.parameter)
        for _, ends in ipairs { alice, a } do
          call(alice, a, "sip:bob@example.com", from, to, ends)
          call(a, alice, phone, to, from, ends)
        end
      end)
    end
  end
end)
