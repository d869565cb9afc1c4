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

-- The page of ctl is made: its verbs are what the program says.
local ctl = "build/test/man/tandem-ctl.8"
sh.run "mkdir -p build/test/man"
local made, problem = sh.run(("dist/man/verbs %s <dist/man/tandem-ctl.8.in >%s")
  :format(tandem, ctl))

local pages = sh.lines "ls dist/man/*.[18]"
pages[#pages + 1] = ctl

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

-- Of tandem ctl: "server show", the words before the arguments.
local verbs = {}
local listed = run(tandem .. " ctl --help"):match "\nVerbs:\n(.-)\n\n"
for line in ("\n" .. listed):gmatch "\n(  %S[^\n]*)" do
  local words = {}
  for word in (line:match "^  (.-)  " or line):gmatch "%S+" do
    words[#words + 1] = word:find "^[%l-]+$" and word or nil
  end
  verbs[#verbs + 1] = table.concat(words, " ")
end

describe("the manual pages", function()
  it("are found, as are the commands", function()
    assert(made, problem)
    assert(#commands >= 4 and #pages >= 4)
  end)

  for _, path in ipairs(pages) do
    it(path .. " has no fault", function()
      assert.equal("", run("mandoc -Tlint -Wwarning " .. path))
      assert.equal("", run("man --warnings -E UTF-8 -l -Tutf8 " .. path .. " 2>&1 >/dev/null"))
    end)

    it(path .. " refers to pages of ours that there are", function()
      for name, section in read(path):gmatch "%.Xr (tandem%S*) (%d)" do
        assert.truthy(page_of(name:match "%-(.*)" or "run"):find("%." .. section .. "$"))
      end
    end)
  end

  for _, command in ipairs(commands) do
    it("know the command " .. command, function()
      assert.truthy(page_of(command), "there is no page for it")
      assert.truthy(read "dist/man/tandem.8":find("%f[%w]" .. command .. "%f[^%w]"))
    end)
  end

  for _, path in ipairs(pages) do
    it(path .. " has the options of the program, and no other", function()
      local wanted = {}
      local function add(command)
        for option in pairs(of_help(run(tandem .. " " .. command .. " --help"))) do
          wanted[option] = true
        end
      end
      for _, command in ipairs(commands) do
        if page_of(command) == path then
          add(command)
        end
      end
      for _, verb in ipairs(path == ctl and verbs or {}) do
        add("ctl " .. verb)
      end
      assert.same(sorted(wanted), sorted(of_page(read(path))))
    end)
  end

  it("have every verb of tandem ctl", function()
    local found = {}
    for line in read(ctl):gmatch "\n%.It Cm ([^\n]*)" do
      found[#found + 1] = line:match "^(.-) %u%l " or line
    end
    table.sort(found)
    table.sort(verbs)
    assert.same(verbs, found)
    assert(#verbs >= 4)
  end)
end)
