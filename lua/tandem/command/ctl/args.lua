-- The command line of `tandem ctl`: options by a table, verbs of one word or two.
local client = require "tandem.command.ctl.client"
local duration = require "tandem.command.duration"
local suggest = require "tandem.config.suggest"
local ipairs, table = ipairs, table

local _ENV = nil

local args = {}

---@class tandem.Option
---@field name string "reason"
---@field letter? string
---@field value? string what follows it, for help: "TEXT"; without: a switch
---@field default? any its value may be left out, as in --wait[=S]: then it is this
---@field parse? fun(text: string): any, string?
---@field help string

-- What stands before or behind any verb.
---@type tandem.Option[]
args.common = {
  {
    name = "socket", letter = "s", value = "SOCKET",
    help = "the proxy's: a path, or http://HOST:PORT",
  },
  {
    name = "output", letter = "o", value = "FORMAT", help = "text or json",
    parse = function(text)
      if text == "text" or text == "json" then
        return text
      end
      return nil, ("text or json, not '%s'"):format(text)
    end,
  },
  {
    name = "timeout", value = "DURATION", parse = duration.parse,
    help = "wait so long for an answer (10s)",
  },
  { name = "token-file", value = "FILE", help = "its first line proves who you are, by TCP" },
  { name = "help", letter = "h", help = "this text" },
}

local function wrong(text, ...)
  client.fail(client.usage, text, ...)
end

local function find(lists, key, wanted)
  for _, list in ipairs(lists) do
    for _, option in ipairs(list) do
      if option[key] == wanted then
        return option
      end
    end
  end
end

local function names(lists)
  local all = {}
  for _, list in ipairs(lists) do
    for _, option in ipairs(list) do
      all[#all + 1] = option.name
    end
  end
  return all
end

-- The option that a word names, and the value in the same word, if there is one.
local function read(word, lists)
  local name, value = word:match "^%-%-([^=]+)=(.*)$"
  name = name or word:match "^%-%-(.+)$"
  if name then
    local option = find(lists, "name", name)
    if not option then
      wrong("unknown option '--%s'%s", name, suggest.hint(name, names(lists), "--"))
    end
    return option, value
  end
  local option = find(lists, "letter", word:sub(2, 2))
  if not option then
    wrong("unknown option '%s'", word:sub(1, 2))
  end
  return option, #word > 2 and word:sub(3) or nil
end

local function take(option, value, list, at)
  if not option.value then
    if value then
      wrong("--%s takes no value", option.name)
    end
    return true, at
  elseif not value and option.default ~= nil then
    return option.default, at
  elseif not value then
    at = at + 1
    value = list[at]
    if not value then
      wrong("--%s needs a value: %s", option.name, option.value)
    end
  end
  if option.parse then
    local parsed, why = option.parse(value)
    if parsed == nil then
      wrong("--%s: %s", option.name, why)
    end
    return parsed, at
  end
  return value, at
end

-- Tells words from options. `known(words)` gives the options of the verb that the words
-- so far name.
---@param list string[]
---@param known fun(words: string[]): tandem.Option[]
---@return string[] words
---@return table<string, any> options by name
function args.parse(list, known)
  local words, options = {}, {}
  local at, is_over = 1, false
  while list[at] do
    local word = list[at]
    if is_over or word == "-" or not word:find "^%-" then
      words[#words + 1] = word
    elseif word == "--" then
      is_over = true
    else
      local option, value = read(word, { args.common, known(words) })
      options[option.name], at = take(option, value, list, at)
    end
    at = at + 1
  end
  return words, options
end

-- ---- help ----

local function shown(option)
  local value = ""
  if option.default ~= nil then
    value = "[=" .. option.value .. "]"
  elseif option.value then
    value = " " .. option.value
  end
  return (option.letter and "-" .. option.letter .. ", " or "    ") .. "--" .. option.name .. value
end

---@param list tandem.Option[]
---@return string lines
function args.help(list)
  local lines = {}
  for _, option in ipairs(list) do
    lines[#lines + 1] = ("  %-24s %s\n"):format(shown(option), option.help)
  end
  return table.concat(lines)
end

-- How an option is written, for usage.
---@param option tandem.Option
---@return string "[--reason TEXT]"
function args.usage(option)
  return "[" .. shown(option):gsub("^.-%-%-", "--") .. "]"
end

-- ---- what verbs take ----

-- "POOL/NAME"; with `may_be_pool` also "POOL" alone.
---@param word string
---@param may_be_pool? boolean
---@return string pool
---@return string? server
function args.server(word, may_be_pool)
  local pool, server = word:match "^([^/]+)/([^/]+)$"
  if pool then
    return pool, server
  elseif may_be_pool and not word:find "/" and word ~= "" then
    return word
  end
  wrong("a server is POOL/NAME%s, not '%s'", may_be_pool and " and a pool POOL" or "", word)
end

-- "weight=50" as name and number, of these names.
---@param word string
---@param allowed string[]
function args.assignment(word, allowed)
  local name, value = word:match "^([^=]+)=(.*)$"
  if not name then
    wrong("%s is expected, not '%s'", table.concat(allowed, "=N or ") .. "=N", word)
  end
  for _, one in ipairs(allowed) do
    if one == name then
      return name, value
    end
  end
  local hint = suggest.hint(name, allowed)
  wrong("there is no '%s'%s", name,
    hint ~= "" and hint or "; there is " .. table.concat(allowed, ", "))
end

args.wrong = wrong

return args
