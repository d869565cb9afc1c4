-- src/ is a stack of layers: a file includes only from its own layer and those
-- below. The libraries have their places, and the core has no way to the world.
local tree = require "support.tree"
local sh = require "support.sh"

local order = {
  "util", "message", "transport", "transaction", "proxy", "core", "lua",
  "host", "control", "cli", "sim",
}
local rank = {}
for i, layer in ipairs(order) do
  rank[layer] = i
end

-- Two worlds around one core: the simulated one knows nothing of the other.
local real = { host = true, control = true, cli = true }

-- Entry points put the layers together and may include all of them: main.c for
-- the binary, src/lua/simlib*.c for the Lua module.
local function is_entry(name)
  return name == "src/main.c" or name:find "^src/lua/simlib[%w_]*%.c$" ~= nil
end

-- The operator's side of the program, which no message passes: a Lua state with all
-- that Lua has.
local worldly = { ["src/lua/console.c"] = true }

-- Which files may include a library's headers.
local libraries = {
  { "^lua%.h$", "^src/lua/" },
  { "^lauxlib%.h$", "^src/lua/" },
  { "^lualib%.h$", "^src/lua/" },
  { "^ev%.h$", "^src/host/", "^src/control/", "^src/cli/version%.c$" },
  { "^ares", "^src/host/", "^src/cli/version%.c$" },
  { "^microhttpd", "^src/control/", "^src/cli/version%.c$" },
  { "^openssl/", "^src/host/", "^src/control/http%.c$", "^src/cli/version%.c$",
    "^src/util/digest%.c$" },
  { "^osipparser2/", "^src/message/field%.c$" },
  { "^osip2/", "^src/message/field%.c$" },
}

local function each_include(name)
  return ("\n" .. tree.read(name)):gmatch '\n[ \t]*#[ \t]*include[ \t]+(["<])([^">\n]+)'
end

local function may_include(name, header)
  if name == "src/main.c" then
    return true
  end
  for _, library in ipairs(libraries) do
    if header:find(library[1]) then
      for i = 2, #library do
        if name:find(library[i]) then
          return true
        end
      end
      return false
    end
  end
  return true
end

-- The complaint about one include, or nil.
local function judge(name, quote, header)
  if quote == "<" then
    if not may_include(name, header) then
      return "<" .. header .. "> has no business here"
    end
    return
  end
  local theirs = header:match "^(%w+)/[%w_]+%.h$"
  if not rank[theirs] then
    return ('"%s" is not "layer/name.h"'):format(header)
  end
  local own = tree.layer(name)
  if not is_entry(name) and rank[theirs] > (rank[own] or 0) then
    return ('"%s" is of a higher layer'):format(header)
  elseif own == "sim" and real[theirs] then
    return ('"%s" is of the other world'):format(header)
  end
end

local sources = tree.files("src", "[ch]")

describe("layers", function()
  it("are the ones the Makefile builds, in this order", function()
    local built = tree.makefile().LAYERS
    for _, world in ipairs { "host", "control", "cli", "sim" } do
      table.insert(built, world)
    end
    assert.same(order, built)
  end)

  for _, name in ipairs(sources) do
    it("are kept by " .. name, function()
      assert(name == "src/main.c" or rank[tree.layer(name)], "is in no layer")
      local wrong = {}
      for quote, header in each_include(name) do
        wrong[#wrong + 1] = judge(name, quote, header)
      end
      assert.equal("", tree.report(wrong))
    end)
  end
end)

describe("the Makefile", function()
  local lists = tree.makefile()

  local function check(listed, names)
    local wrong, known = {}, {}
    for _, name in ipairs(listed) do
      known[name] = true
    end
    for _, name in ipairs(names) do
      if not known[name] then
        wrong[#wrong + 1] = name .. " is not listed"
      end
    end
    assert.equal("", tree.report(wrong))
  end

  it("lists every C file of src", function()
    local listed = { "src/main.c" }
    for _, layer in ipairs(order) do
      for _, base in ipairs(lists["SRC_" .. layer]) do
        table.insert(listed, ("src/%s/%s.c"):format(layer, base))
      end
    end
    for _, base in ipairs(lists.SRC_simmod) do
      table.insert(listed, ("src/lua/%s.c"):format(base))
    end
    check(listed, tree.files("src", "c"))
  end)

  it("lists every C unit test", function()
    local listed = {}
    for _, base in ipairs(lists.UNIT) do
      table.insert(listed, ("spec/unit/%s.c"):format(base))
    end
    check(listed, tree.files("spec/unit", "c"))
  end)

  it("lists every fuzz target, and what belongs to one", function()
    local listed = {}
    for _, name in ipairs { "FUZZ", "FUZZ_CORE", "FUZZ_MUTATE" } do
      for _, base in ipairs(lists[name]) do
        table.insert(listed, ("spec/fuzz/%s.c"):format(base))
      end
    end
    check(listed, tree.files("spec/fuzz", "c"))
  end)
end)

-- A core that is told the time and given bytes calls none of these.
local world = {}
for name in ([[
  time clock clock_gettime gettimeofday nanosleep usleep sleep localtime
  localtime_r open open64 openat fopen fopen64 read write socket bind connect
  accept send sendto sendmsg recv recvfrom recvmsg poll epoll_wait select fork
  execve system popen getenv rand random srand getrandom getentropy arc4random
  getaddrinfo gethostbyname printf puts putchar perror stdout stderr stdin
  pthread_create luaL_newstate luaL_openlibs luaL_loadfilex luaL_dofile
]]):gmatch "%S+" do
  world[name] = true
end

describe("the core", function()
  for _, name in ipairs(tree.files("src", "c")) do
    local layer = tree.layer(name)
    if rank[layer] and rank[layer] < rank.host and not is_entry(name) and not worldly[name] then
      it("never asks the world: " .. name, function()
        local wrong = {}
        for _, line in ipairs(assert(sh.lines("nm -u " .. tree.object(name)))) do
          local symbol = line:match "U ([%w_]+)"
          if world[symbol] then
            wrong[#wrong + 1] = "calls " .. symbol
          end
        end
        assert.equal("", tree.report(wrong))
      end)
    end
  end
end)
