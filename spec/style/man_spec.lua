-- The manual pages are right as such, and know the options that the program knows.
local sh = require "support.sh"

local tandem = (os.getenv "BUILD" or "build/san") .. "/tandem"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

local function run(command)
  local _, output = sh.run(command)
  return output
end

local pages = sh.lines "ls dist/man/*.[18]"

local function page_of(command)
  local words = { run = "tandem", check = "tandem" }
  local name = words[command] or "tandem-" .. command
  for _, path in ipairs(pages) do
    if path:match "([^/]+)%.%d$" == name then
      return path
    end
  end
end

-- The options in the help of a command, or of a page: a set of "-c" and "--config".
local function of_help(text)
  local set = {}
  for line in text:gmatch "\n +(%-[^\n]*)" do
    local left = line:match "^(.-)  " or line
    for option in left:gmatch "%-%-?[%w-]+" do
      set[option] = true
    end
  end
  return set
end

local function of_page(text)
  local set = {}
  for line in text:gmatch "\n%.It (Fl [^\n]*)" do
    for option in line:gmatch "Fl (%S+)" do
      set["-" .. option] = true
    end
  end
  return set
end

local function sorted(set)
  local list = {}
  for name in pairs(set) do
    list[#list + 1] = name
  end
  table.sort(list)
  return list
end

local commands = {}
for name in run(tandem .. " --help"):gmatch "%f[^\n\0 ]tandem %[?(%l+)%f[%] ]" do
  commands[#commands + 1] = name
end

describe("the manual pages", function()
  it("are found, as are the commands", function()
    assert(#commands >= 4 and #pages >= 4)
  end)

  for _, path in ipairs(pages) do
    it(path .. " has no fault", function()
      assert.equal("", run("mandoc -Tlint -Wwarning " .. path))
      assert.equal("", run("man --warnings -E UTF-8 -l -Tutf8 " .. path .. " 2>&1 >/dev/null"))
    end)

    it(path .. " refers to pages of ours that there are", function()
      for name, section in read(path):gmatch "%.Xr (tandem%S*) (%d)" do
        assert.truthy(io.open(("dist/man/%s.%s"):format(name, section)), name)
      end
    end)
  end

  for _, command in ipairs(commands) do
    it("know the command " .. command, function()
      assert.truthy(page_of(command), "there is no page for it")
      assert.truthy(read "dist/man/tandem.8":find("%f[%w]" .. command .. "%f[^%w]"))
    end)
  end

  -- Options of the commands on a page, which are all that it has.
  local function agree(path, of)
    local wanted = {}
    for _, command in ipairs(of) do
      for option in pairs(of_help(run(tandem .. " " .. command .. " --help"))) do
        wanted[option] = true
      end
    end
    assert.same(sorted(wanted), sorted(of_page(read(path))))
  end

  for _, path in ipairs(pages) do
    it(path .. " has the options of the program", function()
      local of = {}
      for _, command in ipairs(commands) do
        of[#of + 1] = page_of(command) == path and command or nil
      end
      if path:find "/tandem%-ctl%.8$" then
        return -- below, with its verbs
      end
      agree(path, of)
    end)
  end
end)

describe("dist/man/tandem-ctl.8", function()
  local page = read "dist/man/tandem-ctl.8"
  local help = run(tandem .. " ctl --help")

  -- "server show": the words before the arguments.
  local verbs = {}
  for line in help:match "\nVerbs:\n(.-)\n\n":gmatch "[^\n]+" do
    local words = {}
    for word in (line:match "^  (.-)  " or line):gmatch "%S+" do
      words[#words + 1] = word:find "^[%l-]+$" and word or nil
    end
    verbs[#verbs + 1] = table.concat(words, " ")
  end

  it("has the verbs that the program has", function()
    local found = {}
    for line in page:gmatch "\n%.It Cm ([^\n]*)" do
      found[(line:gsub(" %u%l .*", ""))] = true
    end
    local missing = {}
    for _, verb in ipairs(verbs) do
      missing[#missing + 1] = not found[verb] and verb or nil
    end
    assert.same({}, missing)
    assert(#verbs >= 4)
  end)

  it("has their options", function()
    local wanted = of_help(help)
    for _, verb in ipairs(verbs) do
      for option in pairs(of_help(run(tandem .. " ctl " .. verb .. " --help"))) do
        wanted[option] = true
      end
    end
    assert.same(sorted(wanted), sorted(of_page(page)))
  end)
end)
