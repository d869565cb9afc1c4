-- What the documentation says is so: links lead somewhere, code loads and specs run,
-- and every option, log event and name of the API is there, with the code's defaults.
local fake = require "support.fake_core"
local sh = require "support.sh"
local tree = require "support.tree"

local pages = { "README.md", "CHANGELOG.md" }
for _, name in ipairs(tree.files("docs", "md")) do
  pages[#pages + 1] = name
end

-- A page without its code blocks, and these: { language, text, line }.
local function split(text)
  local prose, blocks, block, number = {}, {}, nil, 0
  for line in text:gmatch "([^\n]*)\n" do
    number = number + 1
    local fence = line:match "^```(.*)"
    if fence and not block then
      block = { language = fence, line = number, lines = {} }
    elseif fence then
      block.text = table.concat(block.lines, "\n") .. "\n"
      blocks[#blocks + 1], block = block, nil
    elseif block then
      table.insert(block.lines, line)
    else
      prose[#prose + 1] = line
    end
  end
  assert(not block, "a code block without an end")
  return table.concat(prose, "\n"), blocks
end

local function read(name)
  return split(tree.read(name))
end

-- ---- links -----------------------------------------------------------------

-- As GitHub makes them.
local function anchors(text)
  local found = {}
  for title in ("\n" .. text):gmatch "\n#+ ([^\n]*)" do
    local slug = title:gsub("%[([^%]]*)%]%([^)]*%)", "%1"):lower()
    found[slug:gsub("[^%w%-_ ]", ""):gsub(" ", "-")] = true
  end
  return found
end

local function resolve(from, path)
  local parts = {}
  for part in ((from:match "^(.*)/" or ".") .. "/" .. path):gmatch "[^/]+" do
    if part == ".." and #parts > 0 then
      table.remove(parts)
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  return table.concat(parts, "/")
end

-- The complaint about a link, or nil.
local function broken(page, target)
  local path, anchor = target:match "^([^#]*)#?(.*)$"
  local name = path == "" and page or resolve(page, path)
  local file = io.open(name)
  if not file then
    return target .. ": there is no " .. name
  end
  file:close()
  if anchor ~= "" and name:find "%.md$" and not anchors((read(name)))[anchor] then
    return target .. ": no such heading"
  end
end

describe("links", function()
  for _, page in ipairs(pages) do
    it("of " .. page .. " lead somewhere", function()
      local wrong = {}
      for target in (read(page)):gmatch "%]%(([^)%s]+)%)" do
        wrong[#wrong + 1] = not target:find "^%a+:" and broken(page, target) or nil
      end
      assert.equal("", tree.report(wrong))
    end)
  end

  it("of the two indexes reach every page", function()
    local reached, wrong = { ["README.md"] = true }, {}
    for _, index in ipairs { "README.md", "docs/README.md" } do
      for target in (read(index)):gmatch "%]%(([^)%s#]+)" do
        reached[target:find "^%a+:" and "" or resolve(index, target)] = true
      end
    end
    for _, page in ipairs(pages) do
      wrong[#wrong + 1] = not reached[page] and page or nil
    end
    assert.equal("", tree.report(wrong))
  end)
end)

-- ---- specs and targets ---------------------------------------------------------

-- Names that stand for any: in examples of how to write one.
local any = { ["my_spec.lua"] = true, ["route_spec.lua"] = true, ["x_spec.lua"] = true,
  ["x_test.c"] = true }

describe("what shows it", function()
  local there = {}
  for _, dir in ipairs { "spec", "examples" } do
    for _, name in ipairs(tree.files(dir, "*")) do
      there[name:match "[^/]+$"] = true
    end
  end

  for _, page in ipairs(pages) do
    it("in " .. page .. " is there", function()
      local wrong = {}
      for name, ending in tree.read(page):gmatch "([%w_]+_%a+)%.(%l+)" do
        name = name .. "." .. ending
        if (name:find "_spec%.lua$" or name:find "_test%.c$") and not any[name] then
          wrong[#wrong + 1] = not there[name] and name or nil
        end
      end
      assert.equal("", tree.report(wrong))
    end)
  end
end)

describe("the targets of make", function()
  local there = {}
  for target in ("\n" .. tree.read "Makefile"):gmatch "\n([%l][%l%d-]*):" do
    there[target] = true
  end

  it("that pages name are there", function()
    local wrong = {}
    for _, page in ipairs(pages) do
      local text = tree.read(page)
      for _, pattern in ipairs { "`make ([%l-]+)[^`\n]*`", "\n    +make ([%l-]+)",
        "\n    +[%u]+=[^\n]- make ([%l-]+)" } do
        for target in text:gmatch(pattern) do
          wrong[#wrong + 1] = not there[target] and page .. ": make " .. target or nil
        end
      end
    end
    assert.equal("", tree.report(wrong))
  end)
end)

-- ---- code ------------------------------------------------------------------

local folder = "build/test/docs"
local tandem = tree.build .. "/tandem --lua-dir lua "

local function write(page, block, ending)
  local name = ("%s/%s-%d%s"):format(folder, page:gsub("[/.]", "_"), block.line, ending)
  local file = assert(io.open(name, "w"))
  file:write(block.text)
  file:close()
  return name
end

local ways = {
  ['^local sip = require "tandem"\n'] = function(page, block)
    local name = write(page, block, ".lua")
    local ok, output = sh.run(tree.build .. "/tandem check --lua-dir lua -c " .. name)
    assert(ok, output)
  end,
  ['^local sim = require "tandem%.sim"\n'] = function(page, block)
    local name = write(page, block, "_spec.lua")
    local _, output = sh.run("env -u TALLY spec/run " .. name)
    local passed, rest = output:match "(%d+) success%w* (/ 0 failures / 0 errors)"
    assert(rest and passed ~= "0", output)
  end,
}

describe("the code", function()
  setup(function()
    assert(sh.run("rm -rf " .. folder .. " && mkdir -p " .. folder))
  end)

  local count = 0
  for _, page in ipairs(pages) do
    local _, blocks = read(page)
    for _, block in ipairs(blocks) do
      it(("at %s:%d is Lua"):format(page, block.line), function()
        assert(block.language ~= "lua" or load(block.text, "=" .. page))
      end)
      for pattern, way in pairs(ways) do
        if block.language == "lua" and block.text:find(pattern) then
          count = count + 1
          it(("at %s:%d runs"):format(page, block.line), function()
            way(page, block)
          end)
        end
      end
    end
  end

  it("was found", function()
    assert(count >= 8, count)
  end)
end)

-- ---- the command line and the log --------------------------------------------

local cli = (read "docs/reference/cli.md")
local log = (read "docs/reference/log.md")

-- The rows of the tables whose header begins so: the cells of each.
local function rows(text, header)
  local list, inside = {}, false
  for line in text:gmatch "[^\n]+" do
    if not line:find "^|" then
      inside = false
    elseif line:sub(1, #header) == header then
      inside = true
    elseif inside and not line:find "^|%-" then
      local cells = {}
      for cell in line:sub(2):gmatch "%s*(.-)%s*|" do
        cells[#cells + 1] = cell
      end
      list[#list + 1] = cells
    end
  end
  return list
end

-- The words in `code` of a text.
local function words(text, found)
  found = found or {}
  for code in text:gmatch "`([^`\n]+)`" do
    for word in code:gmatch "[%w_]+" do
      found[word] = true
    end
  end
  return found
end

local function sorted(set)
  local list = {}
  for name in pairs(set) do
    list[#list + 1] = name
  end
  table.sort(list)
  return list
end

describe("the command line", function()
  local written = {}
  for _, row in ipairs(rows(cli, "| option | of |")) do
    local option = row[1]:match "%-%-[%w-]+"
    written[option] = row
  end

  local function options_of(command)
    local found = {}
    local _, help = sh.run(("%s/tandem %s --help"):format(tree.build, command))
    for option in help:gmatch "\n  [^\n]-(%-%-[%w-]+)" do
      found[option] = true
    end
    return found
  end

  it("has the options of ping on a page of its own", function()
    local described = {}
    for _, row in ipairs(rows((read "docs/reference/ping.md"), "| option | default | |")) do
      described[row[1]:match "%-%-[%w-]+"] = true
    end
    assert.same(sorted(options_of "ping"), sorted(described))
  end)

  it("has its options described, and no others", function()
    local real = {}
    for command in assert(select(2, sh.run(tandem .. "--help"))):gmatch "tandem %[?(%l+)%]? %[" do
      for option in pairs(command ~= "ping" and options_of(command) or {}) do
        real[option] = real[option] or {}
        real[option][command] = true
      end
    end
    assert.same(sorted(real), sorted(written))
    for option, row in pairs(written) do
      if row[2] ~= "" then
        assert.same({ option, sorted(real[option]) }, { option,
          sorted((function()
            local set = {}
            for command in row[2]:gmatch "%l+" do
              set[command] = true
            end
            return set
          end)()) })
      end
    end
  end)

  it("has its exit codes described", function()
    local codes = {}
    for _, row in ipairs(rows(cli, "| code |")) do
      codes[#codes + 1] = row[1]
    end
    local real = {}
    for code in tree.read "src/control/control.h":gmatch "EXIT_%u+ = (%d+)" do
      real[#real + 1] = code
    end
    assert.same(real, codes)
  end)
end)

-- Events and their fields, out of the sources of the core and the host: the keys in
-- a function, and the names of all fields it sets.
local function c_events(found)
  for _, name in ipairs(tree.files("src", "c")) do
    for body in tree.read(name):gmatch "\n{\n(.-)\n}\n" do
      local flat, keys = body:gsub("%s+", " "), {}
      for args in flat:gmatch "logsink_say%(([^;]*)" do
        keys[#keys + 1] = args:match '"([%l.]+)"'
      end
      for init in flat:gmatch "struct log_event %w+ = (%b{})" do
        for key in init:gmatch '"([%l.]+)"' do
          keys[#keys + 1] = key
        end
      end
      for _, key in ipairs(keys) do
        found[key] = found[key] or {}
        for field in flat:gmatch 'LOGF_%u+%( ?"([%l_]+)"' do
          found[key][field] = true
        end
      end
    end
  end
end

-- Events of the Lua half; their fields are put together in several places.
local function lua_events(found)
  for _, name in ipairs(tree.files("lua/tandem", "lua")) do
    local text = tree.read(name)
    for call in text:gmatch "core%.event(%b())" do
      local key = call:match '^%([^\n]-, "([%l.]+)", ?%{' or call:match '^%([^\n]-, "([%l.]+)", %l'
      if key then
        found[key] = found[key] or {}
      else
        assert(call:find "^%([^\n]-, name, %{" and name == "lua/tandem/health/watch.lua",
          name .. ": an event this spec cannot read: " .. call)
        for other in text:gmatch 'report%(pool, "([%l.]+)"' do
          found[other] = {}
        end
      end
    end
  end
end

-- Nobody prints with a traceback; the function that could is that of lua.warn too.
local never = { ["script.print"] = "trace" }

describe("the log", function()
  local real, written = {}, {}
  c_events(real)
  lua_events(real)
  for _, row in ipairs(rows(log, "| event | level |")) do
    written[row[1]:match "^`([%l.]+)`$"] = row[3]
  end

  it("has its events described, and no others", function()
    assert(#sorted(real) > 20)
    assert.same(sorted(real), sorted(written))
  end)

  for key, fields in pairs(real) do
    it("has the fields of " .. key .. " described", function()
      local wrong, known = {}, words(written[key] or "")
      for _, field in ipairs(sorted(fields)) do
        wrong[#wrong + 1] = not known[field] and never[key] ~= field and field or nil
      end
      assert.equal("", tree.report(wrong))
    end)
  end
end)

-- ---- the API -----------------------------------------------------------------

-- Everything a page says in code, and every method it names; added to `found`.
local function said(page, found)
  local prose, blocks = read(page)
  found = words(prose, found)
  for word in prose:gmatch "[.:]([%w_]+)" do
    found[word] = true
  end
  for _, block in ipairs(blocks) do
    for word in block.text:gmatch "[%w_]+" do
      found[word] = true
    end
  end
  return found
end

describe("the API", function()
  local api, pools = "docs/reference/lua-api.md", "docs/reference/pools.md"

  for _, case in ipairs {
    { "tandem", api, pools, "docs/reference/capture.md" }, { "request", api }, { "pool", api },
    { "policy", "docs/reference/policies.md" }, { "sim", "docs/reference/simulator.md" },
  } do
    local meta, page = ("lua/tandem/meta/%s.lua"):format(case[1]), case[2]
    it("of " .. meta .. " is described in " .. page, function()
      local known, wrong, seen = said(page), {}, 0
      known = case[3] and said(case[3], known) or known
      known = case[4] and said(case[4], known) or known
      for _, line in ipairs(tree.lines(meta)) do
        local name = line:match "^%-%-%-@field ([%a_][%w_]*)"
          or line:match "^function [%w_.]*[.:]([%w_]+)%("
          or line:match '^%-%-%-| "([%w_.]+)"'
        for word in (name or ""):gmatch "[%w_]+" do
          seen = seen + 1
          wrong[#wrong + 1] = not known[word] and name or nil
        end
      end
      assert(seen > 10)
      assert.equal("", tree.report(wrong))
    end)
  end

  -- The text under a heading, without what is under the next one.
  local function section(title)
    local text = "\n" .. (read(api)) .. "\n" .. (read(pools)) .. "\n"
      .. (read "docs/reference/capture.md") .. "\n#"
    local from = select(2, text:find("\n#+ " .. title:gsub("%p", "%%%0") .. "\n"))
    assert(from, "there is no heading " .. title)
    return text:sub(from, text:find("\n#", from, true))
  end

  local options = fake.new():require "tandem.config.options"
  for _, case in ipairs {
    { options.settings, "sip.settings(options)" },
    { options.trace, "Messages at a collector" }, { options.tcp, "Limits of connections" },
    { options.udp, "Datagrams" },
    { options.pool, "The options of a pool" },
    { options.server, "A server" }, { options.check, "check" }, { options.passive, "passive" },
    { options.failback, "failback" }, { options.request, "sip.request(options)" },
    { options.try, "Options of an attempt" },
  } do
    local item, title = table.unpack(case)
    it("has the options of '" .. title .. "' described, with their defaults", function()
      local text, wrong, names = section(title), {}, {}
      for _, header in ipairs { "| option | type | default |", "| option | default |" } do
        for _, row in ipairs(rows(text, header)) do
          for name in row[1]:gmatch "`([%w_]+)`" do
            names[name] = header:find "type" and row[3] or row[2]
          end
        end
      end
      for name, field in pairs(item.fields) do
        local value = field.default
        local plain = value ~= nil and type(value) ~= "table" and tostring(value)
        if not names[name] then
          wrong[#wrong + 1] = name .. " is missing"
        elseif plain and value ~= false and not names[name]:find(plain, 1, true)
          and not (value == true and names[name] == "on") then
          wrong[#wrong + 1] = ("%s: its default is %s, not %s"):format(name, plain, names[name])
        end
        names[name] = nil
      end
      for _, name in ipairs(sorted(names)) do
        wrong[#wrong + 1] = "there is no option " .. name
      end
      table.sort(wrong)
      assert.equal("", tree.report(wrong))
    end)
  end

  -- Numbers of the sandbox: a name in the sources, and how the page writes it.
  it("has the limits of scripts as they are", function()
    local text = (read "docs/reference/lua-environment.md"):gsub("(%d) (%d%d%d)", "%1%2")
      :gsub("(%d) (%d%d%d)", "%1%2")
    for _, case in ipairs {
      { "src/lua/vm_int.h", "VM_RESULTS_MAX = (%d+)" },
      { "src/lua/vm_int.h", "VM_PCALLS_MAX = (%d+)" },
      { "src/lua/vm.c", "tasks_max = (%d+)" }, { "src/lua/vm.c", "match_steps = (%d+)" },
      { "src/lua/bind_core.c", "FIELDS_MAX = (%d+)" }, { "src/message/edit.h", "EDIT_MAX = (%d+)" },
      { "src/message/msg.h", "MSG_MAX_LINE = (%d+)" },
    } do
      local number = assert(tree.read(case[1]):match(case[2]), case[2])
      assert(text:find("%f[%d]" .. number .. "%f[%D]"), case[2] .. " is " .. number)
    end
    for name, page_says in pairs {
      ["MEMORY = 256 %* 1000 %* 1000"] = "256 MB", ["MEMORY_ENTRY = 16 %* 1000 %* 1000"] = "16 MB",
      ["BURST_US = 50 %* 1000"] = "0.05 s", ["INSTRUCTIONS = 5 %* 1000 %* 1000"] = "5000000",
    } do
      assert(tree.read "src/lua/script.c":find(name), name)
      assert(text:find(page_says, 1, true), page_says)
    end
  end)
end)
