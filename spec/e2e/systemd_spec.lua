-- The unit of systemd: it is right, it gives nothing away, and the program lives with what
-- it takes.
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local function absolute(name)
  local _, here = sh.run "pwd"
  return here:gsub("\n", "") .. "/" .. name
end

-- The unit as it is installed, for a program in `bin`.
local function unit(bin)
  local text = process.read "dist/systemd/tandem.service":gsub("@BINDIR@", bin)
  return process.write("tandem.service", text)
end

describe("dist/systemd/tandem.service", function()
  after_each(process.clean)

  it("has no fault", function()
    sh.run("mkdir -p " .. process.path "man/man8")
    sh.run("cp dist/man/tandem.8 " .. process.path "man/man8")
    local ok, output = sh.run(("MANPATH=%s systemd-analyze verify %s"):format(
      absolute(process.path "man"), absolute(unit(absolute "build"))))
    assert.equal("", output)
    assert.is_true(ok)
  end)

  it("gives away little: an exposure of 2.0 at most", function()
    local ok, output = sh.run("systemd-analyze security --offline=true --threshold=20 --no-pager "
      .. absolute(unit "/usr/bin"))
    assert(ok, output)
    io.write("\n", output:match "Overall exposure level[^\n]*", "\n")
  end)

  it("is of a user that sysusers.d makes", function()
    local root = process.path "root"
    sh.run("mkdir -p " .. root .. "/etc")
    local ok, output = sh.run(("systemd-sysusers --root=%s %s"):format(absolute(root),
      absolute "dist/systemd/tandem.sysusers.conf"))
    assert(ok, output)
    local name = process.read(unit "/usr/bin"):match "\nUser=(%l+)\n"
    assert.truthy(process.read(root .. "/etc/passwd"):find("\n?" .. name .. ":"))
    assert.truthy(process.read(root .. "/etc/group"):find("\n?" .. name .. ":"))
  end)
end)

-- ---- system calls ----

-- The sets of systemd: { ["@name"] = { words } }.
local function sets()
  local found, name = {}, nil
  for _, line in ipairs(sh.lines "systemd-analyze syscall-filter --no-pager") do
    local head, item = line:match "^(@%S+)", line:match "^%s+([@%w_-]+)$"
    if head then
      name = head
      found[name] = {}
    elseif item then
      table.insert(found[name], item)
    end
  end
  return found
end

local function expand(all, name, into)
  for _, word in ipairs(all[name] or { name }) do
    if all[word] then
      expand(all, word, into)
    else
      into[word] = true
    end
  end
  return into
end

-- What SystemCallFilter= of the unit leaves.
local function allowed(text)
  local all, left = sets(), {}
  expand(all, "@default", left)
  for line in text:gmatch "\nSystemCallFilter=([^\n]*)" do
    local taken = line:sub(1, 1) == "~"
    for name in line:gsub("^~", ""):gmatch "%S+" do
      for call in pairs(expand(all, name, {})) do
        left[call] = not taken or nil
      end
    end
  end
  return left
end

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}", "tcp:127.0.0.1:%{port}" }
sip.settings { state_dir = "%{state}", dns = { servers = { "127.0.0.1:%{dns}" } } }
local pbx = sip.pool("pbx", { check = false, servers = {
  { name = "a", uri = "sip:127.0.0.1:%{a}" },
  { name = "b", uri = "sip:pbx.example.com", tier = 2 } } })
sip.route(function(req) return req:relay(pbx) end)
]]

describe("the system calls of the program", function()
  after_each(process.clean)

  it("are those that the unit allows", function()
    local port, a, dns, web = process.ports(4)
    local ctl = process.path "ctl.sock"
    local traced = process.start { name = "proxy", argv = {
      "strace", "-f", "-qq", "-c", "-S", "name", "-o", process.path "calls.txt",
      "build/tandem", "run", "--lua-dir", "lua", "--ctl", ctl, "--http", "127.0.0.1:" .. web,
      "-c", process.write("proxy.lua", process.fill(source, {
        port = port, a = a, dns = dns, state = process.path "state" })),
    } }
    setmetatable(traced, { __index = function(_, key)
      return proxy.methods[key] or process.Process[key]
    end })
    local pid = traced:wait_logged("start", nil, 20).pid
    sipp.server("answer", { port = a, values = { ring = 0 } })
    for _, transport in ipairs { "u1", "t1" } do
      sipp.call("call", { name = transport, proxy = "127.0.0.1:" .. port, values = { hold = 0 },
        args = { "-t", transport } })
    end
    for _, at in ipairs { ctl, "127.0.0.1:" .. web } do
      assert.equal(200, (http.ask(at, "/v1/pools")))
      assert.equal(200, (http.ask(at, "/metrics")))
    end
    sh.run("kill -s HUP " .. pid)
    traced:wait_logged "reload"
    sh.run("kill -s TERM " .. pid)
    assert.equal(0, traced:wait())

    local may = allowed(process.read "dist/systemd/tandem.service")
    local used, forbidden = 0, {}
    for line in process.read(process.path "calls.txt"):gmatch "[^\n]+" do
      local name = line:match "^%s*[%d.]+%s+[%d.]+%s+%d+%s+%d+%s+%d*%s*([%w_]+)$"
      if name and name ~= "total" then
        used = used + 1
        forbidden[#forbidden + 1] = not may[name] and name or nil
      end
    end
    assert(used > 30, used)
    assert.same({}, forbidden)
    assert.is_nil(may.mount)
    assert.is_nil(may.setuid)
  end)
end)
