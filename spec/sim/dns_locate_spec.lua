-- Where the servers of a URI are (RFC 3263 section 4, RFC 2782), as sip.resolve says it:
-- the core's own walk, over real DNS messages. Checklist 70, 71, 73 and 75.
local resolve = require "support.resolve"
local sim = require "support.sim"

local zone = {
  ["full.example"] = {
    { order = 20, preference = 10, service = "SIP+D2U", replacement = "_sip._udp.full.example" },
    { order = 10, preference = 20, service = "sip+d2t", flags = "S",
      replacement = "_sip._tcp.full.example" },
    { order = 10, preference = 10, service = "SIPS+D2T",
      replacement = "_sips._tcp.full.example" },
    { order = 1, preference = 1, service = "E2U+sip", flags = "u", regexp = "!^.*$!sip:x@y!",
      replacement = "." },
  },
  ["_sip._udp.full.example"] = { priority = 1, port = 5070, target = "a.example" },
  ["_sip._tcp.full.example"] = {
    { priority = 2, port = 5080, target = "b.example" },
    { priority = 1, port = 5080, target = "a.example" },
  },
  ["_sips._tcp.full.example"] = { priority = 1, port = 5061, target = "a.example" },
  ["_sip._udp.srv.example"] = {
    { priority = 1, target = "gone.example" }, { priority = 2, target = "b.example" },
  },
  ["_sip._tcp.srv.example"] = { target = "b.example" },
  ["_sip._udp.closed.example"] = { target = "." },
  ["closed.example"] = "10.0.0.9",
  ["host.example"] = { "10.0.0.3", "2001:db8::3" },
  ["a.example"] = "10.0.0.1",
  ["b.example"] = "10.0.0.2",
  ["www.example"] = { cname = "b.example", ttl = 7 },
  ["_sip._udp.weights.example"] = {
    { weight = 60, target = "a.example" }, { weight = 20, target = "b.example" },
    { weight = 20, target = "c.example" }, { priority = 1, weight = 50, target = "d.example" },
  },
  ["_sip._udp.zeros.example"] = {
    { target = "a.example" }, { target = "b.example" }, { target = "c.example" },
  },
  ["c.example"] = "10.0.0.4",
  ["d.example"] = "10.0.0.5",
}

sim.for_workers("locating", function(workers)
  local world

  after_each(sim.finish)

  local function find(uri, key)
    return world:resolve(uri, key).places
  end

  local function open(listen)
    world = resolve.new { workers = workers, dns = zone, listen = listen }
  end

  it("asks nothing for an address, nor for maddr", function()
    open()
    assert.equal("0 udp:10.0.0.7:5060", find "sip:10.0.0.7")
    assert.equal("0 tcp:[2001:db8::7]:5070", find "sip:[2001:db8::7]:5070;transport=tcp")
    assert.equal("0 udp:10.0.0.8:5060", find "sip:full.example;maddr=10.0.0.8")
    assert.equal("", world:asked())
  end)

  it("asks for addresses alone when there is a port", function()
    open()
    assert.equal("0 udp:10.0.0.3:5090", find "sip:host.example:5090")
    assert.equal("host.example A", world:asked())
  end)

  it("asks for SRV when there is a transport", function()
    open()
    assert.equal("0 tcp:10.0.0.2:5060", find "sip:srv.example;transport=tcp")
    assert.equal("_sip._tcp.srv.example SRV, b.example A", world:asked())
  end)

  it("asks for NAPTR, then SRV, then addresses", function()
    open()
    assert.equal("0 tcp:10.0.0.1:5080, 1 tcp:10.0.0.2:5080, 2 udp:10.0.0.1:5070",
      find "sip:full.example")
    assert.equal("full.example NAPTR, _sip._tcp.full.example SRV, _sip._udp.full.example SRV, "
      .. "a.example A, b.example A", world:asked())
  end)

  it("uses what has a listener", function()
    open '"udp:0.0.0.0:5060"'
    assert.equal("0 udp:10.0.0.1:5070", find "sip:full.example")
    assert.equal("dns_none", find "sip:srv.example;transport=tcp")
    assert.equal("dns_none", find "sips:full.example")
  end)

  it("gives both families in turn, and each only where there is a listener", function()
    open '"udp:0.0.0.0:5060", "udp:[::]:5060", "tcp:[::]:5060"'
    assert.equal("0 udp:[2001:db8::3]:5060, 0 udp:10.0.0.3:5060", find "sip:host.example")
    assert.equal("0 tcp:[2001:db8::3]:5060", find "sip:host.example;transport=tcp")
  end)

  it("goes by priority, and leaves out a target that is nowhere", function()
    open()
    assert.equal("0 udp:10.0.0.2:5060, 1 tcp:10.0.0.2:5060", find "sip:srv.example")
  end)

  it("falls back to the host itself without SRV", function()
    open()
    assert.equal("0 udp:10.0.0.2:5060", find "sip:b.example")
    assert.equal("0 tcp:10.0.0.2:5060", find "sip:b.example;transport=tcp")
    assert.equal("dns_none", find "sip:nowhere.example")
  end)

  it("follows an alias", function()
    open()
    local found = world:resolve "sip:www.example:5060"
    assert.equal("0 udp:10.0.0.2:5060", found.places)
    assert.equal(7, found.ttl)
  end)

  it("takes '.' for an answer", function()
    open()
    assert.equal("dns_none", find "sip:closed.example;transport=udp")
    assert.not_match("closed.example A,", world:asked() .. ",", 1, true)
  end)

  it("takes no stranger's word for a SIP URI", function()
    open()
    assert.equal("bad_uri", find "tel:+15551234")
    assert.equal("bad_uri", find "sip:a.example;transport=carrier-pigeon")
  end)

  it("spreads by weight, and keeps the order of a key", function()
    open '"udp:0.0.0.0:5060"'
    local first, before = {}, nil
    for key = 1, 200 do
      local list = find("sip:weights.example", "key" .. key)
      local address = list:match "udp:(%S+):"
      first[address] = (first[address] or 0) + 1
      assert.match("1 udp:10.0.0.5:5060 50$", list)
      before = before or list
    end
    assert.equal(before, find("sip:weights.example", "key1"))
    assert.near(120, first["10.0.0.1"], 25)
    assert.near(40, first["10.0.0.2"], 20)
    assert.near(40, first["10.0.0.4"], 20)
  end)

  it("gives equal weights of zero equal chances", function()
    open '"udp:0.0.0.0:5060"'
    local first = {}
    for key = 1, 150 do
      local address = find("sip:zeros.example", "key" .. key):match "udp:(%S+):"
      first[address] = (first[address] or 0) + 1
    end
    for _, ip in ipairs { "10.0.0.1", "10.0.0.2", "10.0.0.4" } do
      assert.near(50, first[ip], 20)
    end
  end)

  it("takes so many addresses of one name, and counts the others", function()
    local many = {}
    for i = 1, 32 do
      many[i] = "10.1.0." .. i
    end
    open '"udp:0.0.0.0:5060"'
    world.net:dns("many.example", many)
    local _, commas = find("sip:many.example:5060"):gsub(",", "")
    assert.equal(7, commas)
    assert.equal(24, world.net:metric "tandem_dns_records_dropped_total")
    assert.equal(1, world.net:count("dns.bad", { reason = "too_many_records" }))
  end)
end)
