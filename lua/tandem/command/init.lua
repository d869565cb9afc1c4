-- `tandem init DIR`: what a policy of one's own begins with. Nothing that is there is
-- overwritten.
local io, ipairs, os, package = io, ipairs, os, package
local string, table = string, table

local _ENV = nil

local fine, failed, usage = 0, 1, 2

local route = [[
-- The policy: a primary and a backup. `tandem check` says whether it is right,
-- `tandem test` whether it does what spec/route_spec.lua wants.
local sip = require "tandem"

sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }

-- Where keys, counts of calls and orders are kept: with it calls survive a restart.
-- sip.settings { state_dir = "/var/lib/tandem" }

local pbx = sip.pool("pbx", {
  servers = {
    { name = "a", uri = "sip:10.0.0.1", tier = 1 },
    { name = "b", uri = "sip:10.0.0.2", tier = 2 },
  },
  check = { interval = 2, timeout = 1, fall = 3, rise = 2 },
  failback = { hold = 60 }, -- a has to be well for a minute before it gets calls again
})

sip.route(function(req)
  if not req:relay(pbx) then
    return req:reply(500, "No PBX available")
  end
end)
]]

local spec = [[
-- What route.lua promises, on the real core with a clock that the spec moves.
local sim = require "tandem.sim"

describe("route.lua", function()
  local net, a, b, alice

  before_each(function()
    net = sim.new { script = "route.lua", seed = 1 }
    a, b = net:uas "10.0.0.1:5060", net:uas "10.0.0.2:5060"
    alice = net:uac "192.0.2.7"
    net:run(5)
  end)

  after_each(function()
    net:finish() -- fails on whatever was left behind
  end)

  it("uses the primary", function()
    assert.same({ "a" }, alice:call("sip:bob@example.com").tried)
  end)

  it("gives the same call to the backup when the primary is dead", function()
    a:silence()
    local call = alice:call "sip:bob@example.com"
    assert.same({ "a", "b" }, call.tried)
    assert.equal(200, call.code)
  end)

  it("returns to the primary a minute after that is back", function()
    a:silence()
    net:run(10)
    a:resume()
    net:run(30)
    assert.equal("b", alice:call("sip:bob@example.com").server)
    net:run(60)
    assert.equal("a", alice:call("sip:bob@example.com").server)
  end)

  it("says 500 when nobody is there", function()
    a:silence()
    b:silence()
    net:run(10)
    assert.equal(500, alice:call("sip:bob@example.com").code)
  end)
end)
]]

local busted = [[
-- For busted, which `tandem test` runs.
return {
  default = { ROOT = { "spec" }, pattern = { "_spec%.lua$" }, lpath = "./?.lua;./lua/?.lua" },
}
]]

local luacheck = [[
std = "lua54"
max_line_length = 100
files["spec"] = { std = "+busted" }
files[".luacheckrc"] = { std = "luacheckrc" }
]]

-- For lua-language-server: where the annotations of the API are.
local editor = [[
{
  "runtime.version": "Lua 5.4",
  "workspace.library": ["%s"],
  "workspace.checkThirdParty": false,
  "diagnostics.globals": [
    "describe", "it", "before_each", "after_each", "setup", "teardown", "pending", "assert"
  ]
}
]]

local function say(...)
  io.stderr:write("tandem: ", string.format(...), "\n")
end

local function quoted(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

-- The first line that a command prints, or nil.
local function output(command)
  local pipe = io.popen(command)
  local line = pipe and pipe:read "l"
  return pipe and pipe:close() and line
end

local function library()
  local folder = package.searchpath("tandem.meta.tandem", package.path):match "^(.*)/[^/]*$"
  return output("cd " .. quoted(folder) .. " && pwd -P") or folder
end

local function files()
  return {
    { "route.lua", route },
    { "spec/route_spec.lua", spec },
    { ".busted", busted },
    { ".luacheckrc", luacheck },
    { ".luarc.json", (editor:gsub("%%s", function()
      return (library():gsub('["\\]', "\\%0"))
    end)) },
  }
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

-- Those of them that are there already.
local function taken(dir, list)
  local found = {}
  for _, item in ipairs(list) do
    if exists(dir .. "/" .. item[1]) then
      found[#found + 1] = dir .. "/" .. item[1]
    end
  end
  return found
end

local function write(path, text)
  local file, why = io.open(path, "wb")
  if not file then
    return nil, why
  end
  local ok
  ok, why = file:write(text)
  if not file:close() or not ok then
    return nil, why or path .. ": cannot be written"
  end
  return true
end

local function make(dir, list)
  if not os.execute("mkdir -p -- " .. quoted(dir .. "/spec")) then
    return failed -- it has said why
  end
  for _, item in ipairs(list) do
    local ok, why = write(dir .. "/" .. item[1], item[2])
    if not ok then
      say("%s", why)
      return failed
    end
  end
  return fine
end

local function tell(dir, list)
  for _, item in ipairs(list) do
    io.write("made ", dir, "/", item[1], "\n")
  end
  io.write("\nWrite the addresses of your servers into route.lua and its spec. Then\n\n",
    dir == "." and "" or "    cd " .. dir .. "\n",
    "    tandem check -c route.lua     # is it right?\n",
    "    tandem test                   # does it do what it should? needs busted\n",
    "    tandem run -c route.lua\n")
end

---@param ... string what follows `tandem init`
---@return integer exit code
return function(...)
  local arguments = { ... }
  local dir = arguments[1]
  if #arguments ~= 1 or dir == "" or dir:sub(1, 1) == "-" then
    say("init takes one folder: tandem init DIR\nTry 'tandem init --help'.")
    return usage
  end
  dir = #dir > 1 and dir:gsub("/+$", "") or dir
  local list = files()
  local there = taken(dir, list)
  if #there > 0 then
    say("nothing is overwritten, and there is already: %s", table.concat(there, ", "))
    return usage
  end
  local code = make(dir, list)
  if code == fine then
    tell(dir, list)
  end
  return code
end
