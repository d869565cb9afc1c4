-- Every public function and field is annotated for editors, and nothing else is:
-- asked of the modules themselves, loaded over a fake core.
local fake = require "support.fake_core"
local tree = require "support.tree"

local world = fake.new()
local before = {}
for name in pairs(world.core.Request) do
  before[name] = true
end
for name in pairs(world.core.Response) do
  before[name] = true
end
local sip = world:require "tandem"

-- What the annotation files declare of a class: { ["listen"] = "function", ... }
-- `class` is "tandem.Pool", `variable` the local it is bound to.
local function annotated(file, class, variable)
  local found, inside = {}, false
  for _, line in ipairs(tree.lines(file)) do
    local name = line:match "^%-%-%-@class ([%w_.]+)"
    if name or not line:find "^%-%-%-@field" then
      inside = name == class
    end
    local field = line:match "^%-%-%-@field ([%w_]+)"
    if inside and field then
      found[field] = "field"
    end
    local fn = line:match("^function " .. variable .. "[.:]([%w_.]+)%(")
    if fn then
      found[fn] = "function"
    end
  end
  return found
end

-- The words of an alias in meta/tandem.lua.
local function words_of(alias)
  local words, inside = {}, false
  for _, line in ipairs(tree.lines "lua/tandem/meta/tandem.lua") do
    local name = line:match "^%-%-%-@alias ([%w_.]+)"
    inside = name == alias or (inside and not name and line ~= "")
    words[#words + 1] = inside and line:match '^%-%-%-| "([%w_.]+)"' or nil
  end
  return words
end

local function compare(actual, written)
  local wrong = {}
  for name, kind in pairs(actual) do
    if written[name] ~= kind then
      wrong[#wrong + 1] = ("%s is not annotated as a %s"):format(name, kind)
    end
  end
  for name, kind in pairs(written) do
    if actual[name] ~= kind then
      wrong[#wrong + 1] = ("there is no %s %s"):format(kind, name)
    end
  end
  table.sort(wrong)
  assert.equal("", tree.report(wrong))
end

local function kinds(class)
  local found = {}
  for name in pairs(class.methods) do
    found[name] = "function"
  end
  for name in pairs(class.fields) do
    found[name] = "field"
  end
  return found
end

describe("the annotations", function()
  it("of tandem are complete", function()
    local actual = {}
    for name, value in pairs(sip) do
      if type(value) == "function" then
        actual[name] = "function"
      else
        for inner in pairs(value) do
          actual[name .. "." .. inner] = "function"
        end
      end
    end
    compare(actual, annotated("lua/tandem/meta/tandem.lua", "tandem", "sip"))
  end)

  for _, case in ipairs {
    { "tandem.pool", "lua/tandem/meta/pool.lua", "tandem.Pool", "pool" },
    { "tandem.server", "lua/tandem/meta/pool.lua", "tandem.Server", "server" },
    { "tandem.config.netset", "lua/tandem/meta/tandem.lua", "tandem.NetSet", "netset" },
  } do
    local module, file, class, variable = table.unpack(case)
    it("of " .. class .. " are complete", function()
      compare(kinds(world:require(module).class), annotated(file, class, variable))
    end)
  end

  -- Of these the core makes the rest; what Lua adds must be there.
  for _, case in ipairs {
    { "Request", "tandem.Request", "request" }, { "Response", "tandem.Response", "response" },
  } do
    local name, class, variable = table.unpack(case)
    it("of " .. class .. " have what Lua adds", function()
      local written = annotated("lua/tandem/meta/request.lua", class, variable)
      local wrong, count = {}, 0
      for method in pairs(world.core[name]) do
        if not before[method] and method:sub(1, 1) ~= "_" then
          count = count + 1
          if written[method] ~= "function" then
            wrong[#wrong + 1] = method .. " is not annotated"
          end
        end
      end
      assert.equal("", tree.report(wrong))
      assert.equal(name == "Request" and 5 or 2, count)
    end)
  end

  -- { the type in options.lua, file, class }
  local options = world:require "tandem.config.options"
  for _, case in ipairs {
    { options.pool, "tandem", "tandem.PoolOptions" },
    { options.settings, "tandem", "tandem.Settings" },
    { options.udp, "tandem", "tandem.UdpSettings" },
    { options.request, "tandem", "tandem.OwnRequest" },
    { options.in_dialog, "request", "tandem.InDialogRequest" },
    { options.reply, "request", "tandem.ReplyOptions" },
    { options.forward, "request", "tandem.ForwardOptions" },
    { options.each, "pool", "tandem.EachOptions" },
    { options.try, "request", "tandem.TryOptions" },
    { options.attempt, "request", "tandem.AttemptOptions" },
    { options.server, "tandem", "tandem.ServerOptions" },
    { options.check, "tandem", "tandem.CheckOptions" },
    { options.passive, "tandem", "tandem.PassiveOptions" },
    { options.failback, "tandem", "tandem.FailbackOptions" },
  } do
    local item, file, class = table.unpack(case)
    it("of " .. class .. " are complete", function()
      local actual = {}
      for name in pairs(item.fields) do
        actual[name] = "field"
      end
      compare(actual, annotated(("lua/tandem/meta/%s.lua"):format(file), class, "%f[%w]none"))
    end)
  end

  it("of tandem.RelayOptions are what relay takes beyond try", function()
    local actual = {}
    for name in pairs(options.relay.fields) do
      if not options.try.fields[name] then
        actual[name] = "field"
      end
    end
    compare(actual, annotated("lua/tandem/meta/request.lua", "tandem.RelayOptions", "%f[%w]none"))
  end)

  it("know the events there are", function()
    assert.same(world:require("tandem.events").names, words_of "tandem.EventName")
  end)

  it("know the policies there are", function()
    assert.same(options.policies, words_of "tandem.PolicyName")
  end)
end)
