-- `tandem ctl`: asks the running proxy, over its control API. This file finds the verb
-- and says how it ended; what verbs do is in ctl/.
local args = require "tandem.command.ctl.args"
local client = require "tandem.command.ctl.client"
local suggest = require "tandem.config.suggest"
local terminal = require "tandem.command.terminal"
local text = require "tandem.command.text"
local verbs = require "tandem.command.ctl.verbs"
local debug, io, ipairs, os = debug, io, ipairs, os
local table, type, xpcall = table, type, xpcall

local _ENV = nil

-- ---- which verb ----

-- The verb that the words begin with, and how many words that is.
local function find(words)
  for n = 2, 1, -1 do
    local verb = words[n] and verbs.find(table.concat(words, " ", 1, n))
    if verb then
      return verb, n
    end
  end
end

-- Those that begin with this word: "server" has several.
local function group(word)
  local list = {}
  for _, verb in ipairs(verbs.list) do
    if verb.name:match "^(%S+) " == word then
      list[#list + 1] = verb
    end
  end
  return list
end

local function last_words(list)
  local words = {}
  for i, verb in ipairs(list) do
    words[i] = verb.name:match "(%S+)$"
  end
  return words
end

local function unknown(words)
  local list = group(words[1])
  if #list > 0 then
    local orders = last_words(list)
    if not words[2] then
      args.wrong("%s what? %s", words[1], table.concat(orders, ", "))
    end
    local other = words[2]:find "/" and words[3]
    for _, order in ipairs(orders) do
      if order == other then
        args.wrong("the order comes first: %s %s %s", words[1], order, words[2])
      end
    end
    args.wrong("unknown verb '%s %s'%s", words[1], words[2],
      suggest.hint(words[2], orders, words[1] .. " "))
  end
  local names, seen = {}, {}
  for _, verb in ipairs(verbs.list) do
    local first = verb.name:match "^%S+"
    if not seen[first] then
      names[#names + 1], seen[first] = first, true
    end
  end
  args.wrong("unknown verb '%s'%s", words[1], suggest.hint(words[1], names))
end

-- Of the verb; of all it may become where it is not complete yet.
local function options_of(words)
  local verb = find(words)
  if verb then
    return verb.options or {}
  end
  local list = {}
  for _, other in ipairs(words[1] and group(words[1]) or {}) do
    table.move(other.options or {}, 1, #(other.options or {}), #list + 1, list)
  end
  if words[1] and words[1] ~= "help" and (#list == 0 or words[2]) then
    unknown(words)
  end
  return list
end

-- ---- help ----

local function usage(verb)
  local parts = { "tandem ctl", verb.name }
  for _, part in ipairs { verb.args } do
    parts[#parts + 1] = part
  end
  for _, option in ipairs(verb.options or {}) do
    parts[#parts + 1] = args.usage(option)
  end
  return table.concat(parts, " ")
end

local function overview()
  local lines = { "Usage: tandem ctl [-s SOCKET] [-o FORMAT] VERB ...\n",
    "      ask the running proxy, or tell it what to do\n\nVerbs:\n" }
  for _, verb in ipairs(verbs.list) do
    local left = verb.name .. (verb.args and " " .. verb.args or "")
    lines[#lines + 1] = #left > 29 and ("  %s\n%32s%s\n"):format(left, "", verb.summary)
      or ("  %-29s %s\n"):format(left, verb.summary)
  end
  lines[#lines + 1] = "\nOptions:\n" .. args.help(args.common)
  lines[#lines + 1] = "\nThe socket: -s, else TANDEM_CTL of the environment, else "
    .. client.default .. ".\nA duration is 30s, 5m, 2h, 1d. "
    .. "'tandem ctl VERB --help' says more about a verb.\n"
    .. "Exit codes: 0 done; 1 failed, or refused by the proxy; 2 usage; 3 no proxy there.\n"
  return table.concat(lines)
end

local function help_of(list)
  local lines = {}
  for _, verb in ipairs(list) do
    lines[#lines + 1] = (#lines == 0 and "Usage: " or "       ") .. usage(verb) .. "\n"
    lines[#lines + 1] = "      " .. verb.summary .. "\n"
    if #list == 1 and verb.more then
      lines[#lines + 1] = "\n" .. verb.more
    end
    if #list == 1 and #(verb.options or {}) > 0 then
      lines[#lines + 1] = "\nOptions:\n" .. args.help(verb.options)
    end
  end
  return table.concat(lines)
end

local function help(words)
  local verb = find(words)
  local list = verb and { verb } or words[1] and group(words[1]) or {}
  if #list > 0 then
    return help_of(list)
  elseif words[1] then
    unknown(words)
  end
  return overview()
end

-- ---- running ----

local function token_of(file)
  local f, why = io.open(file, "r")
  if not f then
    client.fail(client.usage, "--token-file: %s", why)
  end
  local line = f:read "l"
  f:close()
  if not line or line == "" then
    client.fail(client.usage, "--token-file: %s is empty", file)
  end
  return (line:gsub("\r$", ""))
end

-- "drain pbx/a": that one is about the whole proxy, but there is another of the name.
local function meant(verb, rest)
  local other = verbs.find("server " .. verb.name)
  return other and rest[1]:find "/" and
    ("; did you mean '%s %s'?"):format(other.name, rest[1]) or ""
end

local function check_count(verb, rest)
  local least = verb.least or 0
  if #rest < least then
    args.wrong("%s needs %s", verb.name, verb.args)
  elseif #rest > (verb.most or least) then
    args.wrong("%s takes %s%s", verb.name, verb.args and "no more than " .. verb.args
      or "no arguments", meant(verb, rest))
  end
end

-- An empty variable is none.
local function environment(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

local function run(list)
  local words, options = args.parse(list, options_of)
  local out = terminal.new()
  local is_help = words[1] == "help"
  if is_help then
    table.remove(words, 1)
  end
  if options.help or is_help or not words[1] then
    out:write(help(words))
    return (options.help or is_help) and 0 or client.usage
  end
  local verb, n = find(words)
  if not verb then
    unknown(words)
  end
  local rest = table.move(words, n + 1, #words, 1, {})
  check_count(verb, rest)
  local ctx = {
    out = out, is_json = options.output == "json", escape = client.escape,
    api = client.new(options.socket or environment "TANDEM_CTL" or client.default,
      options["token-file"] and token_of(options["token-file"]), options.timeout),
  }
  return verb.run(ctx, rest, options) or 0
end

-- What went wrong may quote what came from elsewhere.
local function report(problem, list)
  if type(problem) ~= "table" then
    io.stderr:write("tandem ctl: ", problem, "\n")
    return client.failed
  elseif problem.text then
    for line in problem.text:gmatch "[^\n]+" do
      io.stderr:write(line == problem.text:match "^[^\n]+" and "tandem ctl: " or "  ",
        text.clean(line), "\n")
    end
    if problem.code == client.usage then
      local verb = find(list)
      io.stderr:write("Try 'tandem ctl ", verb and verb.name .. " " or "", "--help'.\n")
    end
  end
  return problem.code
end

---@param ... string
---@return integer exit code
return function(...)
  local list = { ... }
  local ok, result = xpcall(run, function(problem)
    return type(problem) == "table" and problem or debug.traceback(problem, 2)
  end, list)
  if not ok then
    result = report(result, list)
  end
  return result
end
