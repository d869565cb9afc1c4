-- Who takes the calls of a trunk, while DNS, gateways and the resolver change.
local sim = require "tandem.sim"

local number = "sip:+442079460123@example.com"
local domain = "trunk.carrier.example"

local function srv(name, priority, weight)
  return { target = name .. ".carrier.example", priority = priority, weight = weight, ttl = 60 }
end

describe("examples/trunk.lua", function()
  local net, pbx, lon, man, ber

  before_each(function()
    net = sim.new {
      script = "examples/trunk.lua",
      dns = {
        [domain] = { { service = "SIP+D2U", replacement = "_sip._udp." .. domain } },
        ["_sip._udp." .. domain] = { srv("lon", 10, 70), srv("man", 10, 30), srv("ber", 20, 0) },
        ["lon.carrier.example"] = "198.51.100.1",
        ["man.carrier.example"] = "198.51.100.2",
        ["ber.carrier.example"] = "203.0.113.3",
      },
    }
    pbx = net:uas("10.0.0.1", "pbx1")
    lon, man = net:uas("198.51.100.1", "lon"), net:uas("198.51.100.2", "man")
    ber = net:uas("203.0.113.3", "ber")
    net:run(5)
  end)

  after_each(function() net:finish() end)

  local function names(...)
    net:dns("_sip._udp." .. domain, { ... })
  end

  -- How many of n calls of the PBX each gateway gets; hung up at once.
  local function calls(n)
    local before = { #lon:got "INVITE", #man:got "INVITE", #ber:got "INVITE" }
    for _ = 1, n do
      local call = pbx:call(number)
      assert.equal(200, call.code)
      pbx:bye(call):wait()
    end
    return #lon:got "INVITE" - before[1], #man:got "INVITE" - before[2],
      #ber:got "INVITE" - before[3]
  end

  it("spreads calls by the weights of the first priority", function()
    local to_lon, to_man, to_ber = calls(200)
    assert.near(140, to_lon, 20)
    assert.near(60, to_man, 20)
    assert.equal(0, to_ber)
    assert.equal("sip:+442079460123@" .. domain, lon:got("INVITE")[1].uri)
  end)

  it("goes to the next priority within the call when the first refuses", function()
    lon:refuse()
    man:refuse()
    local call = pbx:call(number)
    assert.equal("ber.carrier.example", call.server)
    assert.equal(3, #call.tried)
    assert(call.elapsed < 0.1)
  end)

  it("uses a new gateway when the TTL is over, with a few calls at first", function()
    net:dns("par.carrier.example", "203.0.113.4")
    local par = net:uas("203.0.113.4", "par")
    names(srv("par", 10, 50), srv("lon", 10, 50))
    net:run(62)
    local to_lon, to_man = calls(40)
    assert.equal(0, to_man)
    assert(to_lon > 30, to_lon)
    net:run(70)
    calls(40)
    assert.near(20, #par:got "INVITE", 12)
  end)

  it("lets calls end on a gateway that DNS names no more", function()
    names(srv("man", 10, 0))
    net:run(62)
    names(srv("lon", 10, 0))
    local call = pbx:call(number)
    assert.equal("man.carrier.example", call.server)
    net:run(62)
    assert.equal("drain", net.pools.carrier["man.carrier.example"].status)
    local _, to_man = calls(5)
    assert.equal(0, to_man)
    assert.equal(200, man:bye(call):wait().code)
    assert.equal(1, #pbx:got "BYE")
    net:run(60)
    assert.is_nil(net.pools.carrier["man.carrier.example"])
  end)

  it("goes on for an hour without a resolver, and starts anew when there is one", function()
    net:resolver "silent"
    net:run(3500)
    calls(5)
    net:run(200)
    assert.equal(500, pbx:call(number).code)
    net:resolver "ok"
    net:run(60)
    calls(5)
  end)

  it("brings calls of the carrier to the PBX, whatever machine of its network calls", function()
    for _, who in ipairs { lon, ber, net:uac("198.51.100.77", "another") } do
      local call = who:call "sip:+442079460999@192.0.2.1"
      assert.equal(200, call.code)
      assert.equal("pbx1", call.server)
      assert.equal(200, pbx:bye(call):wait().code)
    end
  end)

  it("lets nobody else call", function()
    local call = net:uac("192.0.2.66", "stranger"):call(number)
    assert.equal(403, call.code)
    assert.same({}, call.tried)
  end)
end)
