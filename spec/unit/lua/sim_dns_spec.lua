-- The answers of the simulator's DNS, read again by a small reader of its own.
local dns = require "tandem.sim.dns"

local A, CNAME, SOA, AAAA, SRV, NAPTR = 1, 5, 6, 28, 33, 35

local function read_name(bytes, at)
  local labels = {}
  while true do
    local n = bytes:byte(at)
    if n == 0 then
      return table.concat(labels, "."), at + 1
    elseif n >= 0xc0 then
      local rest = read_name(bytes, (string.unpack(">I2", bytes, at) & 0x3fff) + 1)
      labels[#labels + 1] = rest
      return table.concat(labels, "."), at + 2
    end
    labels[#labels + 1] = bytes:sub(at + 1, at + n)
    at = at + n + 1
  end
end

local readers = {
  [A] = function(bytes, at)
    return ("%d.%d.%d.%d"):format(bytes:byte(at, at + 3))
  end,
  [AAAA] = function(bytes, at)
    return (bytes:sub(at, at + 15):gsub(".", function(c)
      return ("%02x"):format(c:byte())
    end))
  end,
  [CNAME] = read_name,
  [SRV] = function(bytes, at)
    local priority, weight, port, rest = string.unpack(">I2I2I2", bytes, at)
    return ("%d %d %d %s"):format(priority, weight, port, (read_name(bytes, rest)))
  end,
  [NAPTR] = function(bytes, at)
    local order, preference, flags, service, regexp, rest =
      string.unpack(">I2I2s1s1s1", bytes, at)
    return ("%d %d %s %s '%s' %s"):format(order, preference, flags, service, regexp,
      (read_name(bytes, rest)))
  end,
  [SOA] = function(bytes, at)
    local _, next_at = read_name(bytes, at)
    _, next_at = read_name(bytes, next_at)
    return (select(5, string.unpack(">I4I4I4I4I4", bytes, next_at)))
  end,
}

-- "owner ttl data" of every record, and what is in the header.
local function read(bytes)
  local id, flags, questions, answers, authorities = string.unpack(">I2I2I2I2I2", bytes)
  assert.equal(0, id)
  assert.equal(1, questions)
  assert.equal(0x8180, flags & 0xfff0)
  local name, at = read_name(bytes, 13)
  local list = { name = name, rcode = flags & 15, answers = answers, soa = nil }
  at = at + 4
  for i = 1, answers + authorities do
    local owner, kind, class, ttl, length
    owner, at = read_name(bytes, at)
    kind, class, ttl, length, at = string.unpack(">I2I2I4I2", bytes, at)
    assert.equal(1, class)
    local data = readers[kind](bytes, at)
    if i <= answers then
      list[i] = ("%s %d %s"):format(owner, ttl, data)
    else
      list.soa = ("%s %d %s"):format(owner, ttl, data)
    end
    at = at + length
  end
  assert.equal(#bytes + 1, at)
  return list
end

local zone

local function ask(name, kind)
  return read(dns.answer(zone, name, kind))
end

local function set(name, records)
  dns.set(zone, name, records)
end

describe("an answer of the simulator's DNS", function()
  before_each(function()
    zone = {}
  end)

  it("has the addresses of a name, by family, with their TTL", function()
    set("PBX.example.com.", { "10.0.0.1", "2001:db8::7", "10.0.0.2", ttl = 5 })
    local answer = ask("pbx.Example.com", A)
    assert.same({ "pbx.example.com 5 10.0.0.1", "pbx.example.com 5 10.0.0.2" },
      { answer[1], answer[2] })
    assert.equal(2, answer.answers)
    assert.equal("pbx.example.com 5 20010db8000000000000000000000007",
      ask("pbx.example.com", AAAA)[1])
    set("a.example", { "::1", "1:2:3:4:5:6:7:8", { address = "::", ttl = 9 } })
    answer = ask("a.example", AAAA)
    assert.equal("a.example 60 00000000000000000000000000000001", answer[1])
    assert.equal("a.example 60 00010002000300040005000600070008", answer[2])
    assert.equal("a.example 9 00000000000000000000000000000000", answer[3])
  end)

  it("has services and their servers", function()
    set("_sip._udp.example.com", {
      { priority = 1, weight = 60, port = 5070, target = "a.example.com" },
      { target = ".", ttl = 0 },
    })
    local answer = ask("_sip._udp.example.com", SRV)
    assert.equal("_sip._udp.example.com 60 1 60 5070 a.example.com", answer[1])
    assert.equal("_sip._udp.example.com 0 0 0 5060 ", answer[2])
    set("example.com", {
      { order = 10, preference = 50, flags = "S", service = "SIP+D2U",
        replacement = "_sip._udp.example.com" },
      { order = 20, service = "SIP+D2T", regexp = "!x!y!", flags = "u" },
    })
    answer = ask("example.com", NAPTR)
    assert.equal("example.com 60 10 50 S SIP+D2U '' _sip._udp.example.com", answer[1])
    assert.equal("example.com 60 20 0 u SIP+D2T '!x!y!' ", answer[2])
  end)

  it("follows aliases, and says where they end", function()
    set("www.example.com", { cname = "PBX.example.net", ttl = 3 })
    set("pbx.example.net", "10.0.0.9")
    local answer = ask("www.example.com", A)
    assert.equal("www.example.com 3 PBX.example.net", answer[1])
    assert.equal("pbx.example.net 60 10.0.0.9", answer[2])
    assert.equal("www.example.com 3 PBX.example.net", ask("www.example.com", CNAME)[1])
    answer = ask("www.example.com", AAAA)
    assert.equal(1, answer.answers)
    assert.equal(0, answer.rcode)
    assert.equal("example.net 60 60", answer.soa)
    set("pbx.example.net", nil)
    assert.equal(3, ask("www.example.com", A).rcode)
  end)

  it("ends when aliases go round", function()
    set("a.example", { { cname = "b.example" } })
    set("b.example", { { cname = "a.example" } })
    assert.equal(16, ask("a.example", A).answers)
  end)

  it("says for how long there is nothing", function()
    local answer = ask("gone.example.com", A)
    assert.equal(3, answer.rcode)
    assert.equal("example.com 60 60", answer.soa)
    set("empty.example.com", { negative = 7 })
    answer = ask("empty.example.com", A)
    assert.equal(0, answer.rcode)
    assert.equal("example.com 7 7", answer.soa)
  end)

  it("fails as it is told", function()
    set("a.example", { "10.0.0.1", fail = "servfail" })
    assert.equal(2, ask("a.example", A).rcode)
    assert.equal(5, read(dns.answer(zone, "a.example", A, "refused")).rcode)
    assert.is_nil(dns.answer(zone, "a.example", A, "silent"))
    local garbage = dns.answer(zone, "a.example", A, "garbage")
    assert.is_false(pcall(read, garbage))
  end)

  it("is not made of what nobody could mean", function()
    local function wrong(why, records)
      assert.error_matches(function()
        set("a.example", records)
      end, why)
    end
    wrong("is no address and has no target", { {} })
    wrong("is no address and has no target", { 7 })
    wrong("SRV of a.example has no field 'prio'", { { target = "b", prio = 1 } })
    wrong("unknown option 'tll'", { "10.0.0.1", tll = 1 })
    wrong("cannot fail by 'rain'", { fail = "rain" })
    set("a.example", "10.0.0.one")
    assert.error_matches(function()
      ask("a.example", A)
    end, "not an address: 10.0.0.one")
  end)

  it("gives endpoints an address", function()
    set("a.example", { { cname = "b.example" } })
    set("b.example", { { target = "c.example" }, "2001:db8::1", "10.0.0.1" })
    assert.equal("[2001:db8::1]", dns.address(zone, "A.example"))
    assert.is_nil(dns.address(zone, "c.example"))
  end)
end)
