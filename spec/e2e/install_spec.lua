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

-- What is in a folder, and the mode of each.
local function tree(root)
  local found = {}
  for _, line in ipairs(sh.lines(("cd %s && find . ! -type d -printf '%%m %%P\\n'")
    :format(sh.quote(root)))) do
    local mode, path = line:match "^(%d+) (.*)$"
    found[path] = mode
  end
  return found
end

local function listed(what) -- of find
  return sh.lines("find " .. what .. " 2>&-") or {}
end

-- The files of an installation, as docs/how-to/run-as-a-service.md has them.
local function wanted(prefix)
  local share, want = prefix .. "share/", {
    [prefix .. "bin/tandem"] = "755",
    [prefix .. "lib/tandem/lua/tandem/simcore.so"] = "755",
    [prefix .. "lib/systemd/system/tandem.service"] = "644",
    [prefix .. "lib/sysusers.d/tandem.conf"] = "644",
    [prefix .. "share/tandem/library"] = "777", -- a link
    [prefix .. "share/tandem/prometheus/alerts.yml"] = "644",
    [prefix .. "share/bash-completion/completions/tandem"] = "644",
  }
  local function add(folder, mode, files)
    for _, path in ipairs(files) do
      want[share .. folder .. path:match "[^/]+$"] = mode
    end
  end
  for _, path in ipairs(listed "lua -type f") do
    want[share .. "tandem/" .. path] = "644"
  end
  local other = "! -path '*/man/*' ! -path '*/systemd/*' ! -path '*/bash-completion/*'"
  for _, path in ipairs(listed("dist -mindepth 2 -type f " .. other)) do
    local _, mode = sh.run("stat -c %a " .. path)
    want[share .. (path:gsub("^dist", "tandem"))] = mode:find "^7" and "755" or "644"
  end
  add("doc/tandem/examples/", "644", listed "examples -maxdepth 1 -name '*.lua' -o -name '*.json'")
  add("doc/tandem/", "644", { "README.md", "CHANGELOG.md", "LICENSE" })
  add("man/man1/", "644", listed "dist/man -name '*.1'")
  add("man/man8/", "644", listed "dist/man -name '*.8'")
  add("man/man8/", "644", { "tandem-ctl.8" })
  return want
end

-- What is there and should not be, is not there and should be, or has another mode.
local function differences(want, found)
  local list = {}
  for path, mode in pairs(want) do
    list[#list + 1] = found[path] ~= mode and ("%s: %s, not %s"):format(path, found[path], mode)
      or nil
  end
  for path in pairs(found) do
    list[#list + 1] = not want[path] and path .. " is too much" or nil
  end
  table.sort(list)
  return list
end

describe("make install", function()
  after_each(process.clean)

  local root

  -- As a packager would, who has put a file of his own there.
  local function install()
    root = absolute "root"
    sh.run("mkdir -p " .. sh.quote(root .. "/usr/bin"))
    process.write("root/usr/bin/other", "")
    local ok, output = sh.run(make .. "make -s install DESTDIR=" .. sh.quote(root))
    assert(ok, output)
  end

  it("puts all files where they belong, and no other, and takes them away again", function()
    install()
    local want = wanted "usr/local/"
    want["usr/bin/other"] = "644"
    assert.same({}, differences(want, tree(root)))
    local unit = process.read(root .. "/usr/local/lib/systemd/system/tandem.service")
    assert.truthy(unit:find("\nExecStart=/usr/local/bin/tandem run", 1, true))
    assert.is_nil(unit:match "@%u+@")
    local ok, output = sh.run(make .. "make -s uninstall DESTDIR=" .. sh.quote(root))
    assert(ok, output)
    assert.same({ ["usr/bin/other"] = "644" }, tree(root))
    assert.same({}, listed(sh.quote(root) .. " -path '*/tandem*'"))
  end)

  it("gives a program that finds its own files", function()
    install()
    process.write("route.lua", [[
      local sip = require "tandem"
      sip.listen { "udp:127.0.0.1:5060" }
      sip.route(function(req) return req:reply(480) end)
    ]])
    local ok, output = elsewhere "root/usr/local/bin/tandem check -c route.lua 2>/dev/null"
    assert.equal("OK\n", output)
    assert(ok)
    ok, output = elsewhere "root/usr/local/bin/tandem ctl --help"
    assert(ok, output)
    ok, output = elsewhere("root/usr/local/bin/tandem init mine && cd mine && "
      .. "../root/usr/local/bin/tandem test")
    assert(ok, output)
    assert.truthy(output:find("4 successes", 1, true), output)
    assert.truthy(process.read(root .. "/usr/local/share/tandem/library/tandem.lua"))
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
