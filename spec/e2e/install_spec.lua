-- What is installed works without the clone it came from.
local process = require "support.process"
local sh = require "support.sh"

-- A make of its own, not a part of the one that runs us.
local make = "env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL NO_DEPS=1 timeout 600 "

-- Runs a command in the test's folder, which knows nothing of the clone.
local function elsewhere(command)
  return sh.run(("cd %s && env -u LUA_PATH -u LUA_CPATH %s"):format(process.path ".", command))
end

-- The folder of the test, and an absolute name in it.
local function absolute(name)
  local _, here = sh.run "pwd"
  return here:gsub("\n", "") .. "/" .. process.path(name)
end

describe("make install", function()
  after_each(process.clean)

  it("gives a binary that finds its Lua files", function()
    local ok, output = sh.run(make .. "make -s install DESTDIR=" .. sh.quote(absolute "root"))
    assert(ok, output)
    process.write("route.lua", [[
      local sip = require "tandem"
      sip.listen { "udp:127.0.0.1:5060" }
      sip.route(function(req) return req:reply(480) end)
    ]])
    ok, output = elsewhere "root/usr/local/bin/tandem check -c route.lua"
    assert.equal("OK\n", output)
    assert(ok)
    assert(elsewhere "root/usr/local/bin/tandem init policy")
    ok, output = elsewhere "sh -c 'cd policy && ../root/usr/local/bin/tandem test'"
    assert(ok, output)
    assert.truthy(output:find("4 successes", 1, true), output)
    assert(elsewhere "sh -n root/usr/local/share/tandem/keepalived/check-tandem")
  end)
end)

describe("luarocks make", function()
  after_each(process.clean)

  it("gives stock busted all that the spec of a policy needs", function()
    local ok, output = sh.run(make .. "luarocks make --lua-version=5.4 --tree "
      .. sh.quote(absolute "tree"))
    assert(ok, output)
    process.write("policy_spec.lua", [[
      local sim = require "tandem.sim"
      it("answers", function()
        local net = sim.new { seed = 1, source = [=[
          local sip = require "tandem"
          sip.listen { "udp:10.0.0.100:5060" }
          sip.route(function(req) return req:reply(480) end)
        ]=] }
        assert.equal(480, net:uac "192.0.2.7":call("sip:bob@example.com").code)
        net:finish()
      end)
    ]])
    ok, output = elsewhere("LUA_PATH='tree/share/lua/5.4/?.lua;tree/share/lua/5.4/?/init.lua;;' "
      .. "LUA_CPATH='tree/lib/lua/5.4/?.so;;' busted --lua=lua5.4 policy_spec.lua")
    assert(ok, output)
    assert.truthy(output:find("1 success", 1, true), output)
  end)
end)
