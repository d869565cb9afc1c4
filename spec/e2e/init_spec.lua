-- `tandem init` makes a policy that is right, and `tandem test` proves it.
local process = require "support.process"
local sh = require "support.sh"

-- Stock Lua cannot load what is sanitised.
local binary = os.getenv "PWD" .. "/build/tandem"

local function absolute(name)
  return os.getenv "PWD" .. "/" .. process.path(name)
end

-- As somebody does who knows nothing of the clone: exit code and all that is said.
local function tandem(folder, arguments, env)
  local _, output, status = sh.run(("cd %s && timeout 60 env -u LUA_PATH -u LUA_CPATH %s %s %s")
    :format(folder, env or "", binary, arguments))
  return status or 0, output
end

describe("tandem init", function()
  local here, made

  before_each(function()
    here = absolute "."
    made = absolute "policy of mine"
  end)
  after_each(process.clean)

  local function quoted()
    return sh.quote(made)
  end

  it("makes what check, test and luacheck have nothing to say against", function()
    local status, output = tandem(here, "init 'policy of mine'")
    assert.equal(0, status)
    for _, name in ipairs { "route.lua", "spec/route_spec.lua", ".busted", ".luacheckrc",
      ".luarc.json" } do
      assert.truthy(output:find("made policy of mine/" .. name .. "\n", 1, true), output)
      assert.truthy(process.read(made .. "/" .. name))
    end
    status, output = tandem(quoted(), "check -c route.lua")
    assert.equal(0, status)
    assert.truthy(output:find("OK\n", 1, true), output)
    status, output = tandem(quoted(), "test")
    assert.equal(0, status)
    assert.truthy(output:find("4 successes / 0 failures / 0 errors", 1, true), output)
    assert(sh.run(("cd %s && luacheck -q ."):format(quoted())))
    local library = process.read(made .. "/.luarc.json"):match '"workspace.library": %["(.-)"%]'
    assert.truthy(process.read(library .. "/tandem.lua"))
  end)

  it("overwrites nothing", function()
    assert.equal(0, (tandem(here, "init x")))
    process.write("x/route.lua", "mine")
    sh.run("rm " .. here .. "/x/.busted")
    local status, output = tandem(here, "init x/")
    assert.equal(2, status)
    assert.truthy(output:find("nothing is overwritten, and there is already: x/route.lua, ", 1,
      true), output)
    assert.equal("mine", process.read(here .. "/x/route.lua"))
    assert.is_nil(process.read(here .. "/x/.busted"))
  end)

  it("wants one folder, in which it can write", function()
    for _, arguments in ipairs { "init", "init a b", "init --all", "init ''" } do
      local status, output = tandem(here, arguments)
      assert.equal(2, status)
      assert.truthy(output:find("tandem init DIR", 1, true), output)
    end
    process.write("file", "")
    local status, output = tandem(here, "init file")
    assert.equal(1, status)
    assert.truthy(output:find("file", 1, true), output)
  end)
end)

describe("tandem test", function()
  after_each(process.clean)

  before_each(function()
    process.write("fails_spec.lua", [[
      it("is right", function() end)
      it("is wrong", function() assert.equal(1, 2) end)
    ]])
  end)

  it("hands its arguments to busted, and gives its exit code", function()
    local status, output = tandem(absolute ".", "test -o TAP fails_spec.lua")
    assert.equal(1, status)
    assert.truthy(output:find("not ok 2 - is wrong", 1, true), output)
    status, output = tandem(absolute ".", "test -o TAP --filter=right fails_spec.lua")
    assert.equal(0, status)
    assert.truthy(output:find("1..1", 1, true), output)
  end)

  it("says so when there is no busted, or no Lua", function()
    local status, output = tandem(absolute ".", "test", "LUA_PATH_5_4='/nowhere/?.lua'")
    assert.equal(2, status)
    assert.truthy(output:find("busted.runner is not there for this Lua: apt install lua-busted", 1,
      true), output)
    sh.run("mkdir -p " .. absolute "empty")
    status, output = tandem(absolute ".", "test", "PATH=" .. absolute "empty")
    assert.equal(2, status)
    assert.truthy(output:find("cannot run Lua 5.4", 1, true), output)
  end)
end)
