-- Every path of the control API and every verb of `tandem ctl` is in its reference, and
-- nothing is there that does not exist.
local tree = require "support.tree"

-- The first cells of the tables whose header begins so, with all of their row.
local function rows(page, header)
  local list, inside = {}, false
  for _, line in ipairs(tree.lines(page)) do
    if line:sub(1, #header) == header then
      inside = true
    elseif not line:find "^|" then
      inside = false
    elseif inside and not line:find "^|%-" then
      list[#list + 1] = line
    end
  end
  return list
end

local function sorted(list)
  table.sort(list)
  return table.concat(list, "\n")
end

describe("docs/reference/api.md", function()
  it("has the paths there are", function()
    local real, written = {}, {}
    for _, name in ipairs(tree.files("lua/tandem/control/routes", "lua")) do
      for method, path in tree.read(name):gmatch 'route%("(%u+)", "([^"]+)"' do
        real[#real + 1] = method .. " " .. path
      end
    end
    for _, row in ipairs(rows("docs/reference/api.md", "| path |")) do
      for path in row:match "^|[^|]*":gmatch "`(%u+ /[^`?]*)" do
        written[#written + 1] = path
      end
    end
    assert(#real > 5)
    assert.equal(sorted(real), sorted(written))
  end)

  it("has the modules loaded that there are", function()
    local real = {}
    for _, name in ipairs(tree.files("lua/tandem/control/routes", "lua")) do
      real[#real + 1] = name:match "([%w_]+)%.lua$"
    end
    local listed = tree.read "lua/tandem/control/api.lua":match "local modules = (%b{})"
    local loaded = {}
    for name in listed:gmatch '"([%w_]+)"' do
      loaded[#loaded + 1] = name
    end
    assert.equal(sorted(real), sorted(loaded))
  end)

  it("has the members of pools and servers", function()
    local text, wrong = {}, {}
    for _, row in ipairs(rows("docs/reference/api.md", "| member |")) do
      for name in row:match "^|[^|]*":gmatch "`([%w_]+)`" do
        text[name] = true
      end
    end
    local inspect = tree.read "lua/tandem/inspect.lua"
    local shown = inspect:match "local function show%(.-\n  return (%b{})\nend"
      .. inspect:match "local function head%(.-\n  return (%b{})\nend"
    local n = 0
    for name in shown:gmatch "[{ ,\n]([%w_]+) = " do
      n = n + 1
      if not text[name] then
        wrong[#wrong + 1] = name
      end
    end
    assert(n > 20)
    assert.equal("", sorted(wrong))
  end)
end)

describe("docs/reference/ctl.md", function()
  local verbs = require "tandem.command.ctl.verbs"

  it("has the verbs there are, with their options", function()
    local real, written = {}, {}
    for _, verb in ipairs(verbs.list) do
      local names = {}
      for _, option in ipairs(verb.options or {}) do
        names[#names + 1] = "--" .. option.name
      end
      table.sort(names)
      real[#real + 1] = verb.name .. (verb.args and " " .. verb.args or "") .. ": "
        .. table.concat(names, " ")
    end
    for _, row in ipairs(rows("docs/reference/ctl.md", "| verb |")) do
      local name, options = row:gsub("\\|", "\0"):match "^| `([^`]+)` |([^|]*)|"
      local names = {}
      for option in options:gmatch "`(%-%-[%w-]+)" do
        names[#names + 1] = option
      end
      table.sort(names)
      written[#written + 1] = name:gsub("\0", "|") .. ": " .. table.concat(names, " ")
    end
    assert(#real > 3)
    assert.equal(sorted(real), sorted(written))
  end)

  it("can be read as help within 80 columns", function()
    local command = require "tandem.command.ctl"
    assert.is_function(command)
    local args = require "tandem.command.ctl.args"
    for _, verb in ipairs(verbs.list) do
      for line in args.help(verb.options or {}):gmatch "[^\n]+" do
        assert(#line <= 80, line)
      end
      for line in (verb.more or ""):gmatch "[^\n]+" do
        assert(#line <= 80, line)
      end
      assert(#verb.summary <= 72, verb.summary)
    end
  end)
end)

describe("tandem ctl in the documentation", function()
  -- What follows "tandem ctl" on a line of a page, as the words of a shell.
  local function commands(line)
    local list = {}
    for rest in line:gmatch "tandem ctl( [^`]+)" do
      local words, at, inside = {}, 1, rest:match "^[^|#&;)]*"
      while true do
        local quoted, after = inside:match('^ +"([^"]*)"()', at)
        local word, next_at = inside:match("^ +([^ ]+)()", at)
        if not word then
          break
        end
        words[#words + 1], at = quoted or word, after or next_at
      end
      list[#list + 1] = words
    end
    return list
  end

  -- Commands in code: a block that is indented, or between backquotes.
  local function each_command(found)
    local pages = tree.files("docs", "md")
    pages[#pages + 1] = "README.md"
    for _, page in ipairs(pages) do
      for number, line in ipairs(tree.lines(page)) do
        local code = line:find "^    " and { line } or {}
        for inline in (code[1] and "" or line):gmatch "`([^`]*)`" do
          code[#code + 1] = inline
        end
        for _, text in ipairs(code) do
          for _, words in ipairs(commands(text)) do
            found(("%s:%d"):format(page, number), words, text ~= line)
          end
        end
      end
    end
  end

  it("is such that it would be understood", function()
    local command, errors, wrong, n = require "tandem.command.ctl", io.stderr, {}, 0
    each_command(function(where, words, is_mention)
      local is_example = table.concat(words, " "):find "VERB" or words[1] == "--help"
        or words[1]:find "^%["
      if not is_example then
        n = n + 1
        local said = {}
        rawset(io, "stderr", { write = function(_, ...)
          said[#said + 1] = table.concat { ... }
        end })
        local ok, code = pcall(command, "-s", "/nope", table.unpack(words))
        rawset(io, "stderr", errors)
        -- Within a sentence a command may lack what it needs.
        local text = table.concat(said)
        if not ok or code ~= 3 and not (is_mention and not text:find "unknown"
          and not text:find " takes ") then
          wrong[#wrong + 1] = ("%s: %s: %s"):format(where, table.concat(words, " "),
            ok and text or code)
        end
      end
    end)
    assert(n > 30, n)
    assert.equal("", tree.report(wrong))
  end)
end)
