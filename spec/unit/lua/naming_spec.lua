-- What servers are called that were found in DNS.
local naming = require "tandem.dns.naming"

local function place(target, addr)
  return { target = target, addr = addr }
end

-- The names of all, one after the other.
local function names(list, taken)
  taken = taken or {}
  local found, find = {}, naming.of("trunk", list)
  for i, item in ipairs(list) do
    local name = find(item, taken)
    if name then
      taken[name] = true
    end
    found[i] = name or "none"
  end
  return found
end

describe("a server found in DNS", function()
  it("is called like its target", function()
    assert.same({ "gw1.example.com", "gw2.example.com" }, names {
      place("gw1.example.com", "10.0.0.1:5060;transport=udp"),
      place("gw2.example.com", "10.0.0.1:5060;transport=tcp"),
    })
  end)

  it("has the address in its name when its target has several", function()
    assert.same({ "gw-10.0.0.1", "gw-10.0.0.2", "gw-2001-db8--1" }, names {
      place("gw", "10.0.0.1:5060;transport=udp"), place("gw", "10.0.0.2:5060;transport=udp"),
      place("gw", "[2001:db8::1]:5060;transport=udp"),
    })
  end)

  it("has the transport in it when that is all the difference", function()
    assert.same({ "gw-udp", "gw-tcp" }, names {
      place("gw", "10.0.0.1:5060;transport=udp"), place("gw", "10.0.0.1:5060;transport=tcp"),
    })
  end)

  it("has all in it when it must", function()
    assert.same({ "gw-10.0.0.1-5060-udp", "gw-10.0.0.1-5062-udp", "gw-10.0.0.1-tcp",
      "gw-10.0.0.2" }, names {
      place("gw", "10.0.0.1:5060;transport=udp"), place("gw", "10.0.0.1:5062;transport=udp"),
      place("gw", "10.0.0.1:5060;transport=tcp"), place("gw", "10.0.0.2:5060;transport=tcp"),
    })
  end)

  it("does not take the name of one that is still there", function()
    local list = { place("gw", "10.0.0.2:5060;transport=udp") }
    assert.same({ "gw-10.0.0.2" }, names(list, { gw = true }))
    assert.same({ "none" }, names(list, {
      gw = true, ["gw-10.0.0.2"] = true, ["gw-udp"] = true, ["gw-10.0.0.2-udp"] = true,
      ["gw-10.0.0.2-5060-udp"] = true,
    }))
  end)

  it("has a name that fits and can be written anywhere", function()
    local long = ("x"):rep(200) .. ".example.com"
    local found = names {
      place(long, "[1111:2222:3333:4444:5555:6666:7777:8888]:65535;transport=udp"),
      place(long .. "y", "[1111:2222:3333:4444:5555:6666:7777:8888]:65534;transport=udp"),
      place("gw/é:1", "10.0.0.1:5060;transport=udp"),
    }
    for _, name in ipairs(found) do
      assert(#"trunk/" + #name <= 127, name)
      assert.matches("^[%w_.-]+$", name)
    end
    assert.equal("gw____1", found[3])
    assert.matches("xx%-1111", found[1])
    assert.not_equal(found[1], found[2])
  end)
end)
