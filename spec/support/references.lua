-- Which sections of which RFCs the sources and the specs name, and where: in comments,
-- and in what `it` and `describe` say. How one is written: "RFC 3581 4",
-- "RFC 4320 4.1, 4.2", "RFC 3261 16.6 steps 7 to 11". A section with a dot in it that
-- has no RFC before it in its comment is one of RFC 3261: "(17.1.1.3)".
local tree = require "support.tree"
local ipairs, setmetatable, tonumber = ipairs, setmetatable, tonumber
local table = table

local _ENV = nil

local references = {}

-- Behind these stands a number that is none of a section.
local no_section = { checklist = true, item = true, items = true, semantics = true }
-- And these behind one that is none either: "after 7.5 s".
local units = { s = true, ms = true, us = true, seconds = true, MB = true, kB = true }
-- These may stand between the numbers of a list.
local joins = { section = true, sections = true, ["and"] = true, ["or"] = true, to = true }

local Reader = {}
Reader.__index = Reader

-- What was read and may still get steps.
function Reader:flush()
  if self.section then
    table.insert(self.found, { rfc = self.rfc, section = self.section, named = self.named })
  end
  self.section = nil
end

function Reader:step(first, last)
  for n = tonumber(first), tonumber(last) do
    local section = ("%s step %d"):format(self.base, n)
    table.insert(self.found, { rfc = self.rfc, section = section, named = self.named })
  end
  self.last_step = tonumber(last)
end

-- A number where a step may be: "7", "6-10", or what "to" leads to.
function Reader:steps(word)
  local first, last = word:match "^(%d+)%-(%d+)$"
  first = first or word:match "^%d+$"
  if not first then
    return false
  end
  if self.range then
    self:step(self.last_step + 1, first)
  else
    self:step(first, last or first)
  end
  self.range = false
  return true
end

function Reader:number(word)
  self:flush()
  self.section, self.base = word, word
end

function Reader:word(word)
  if self.skip then
    self.skip = false
  elseif self.expect then -- the number of an RFC
    self.expect = false
    self:flush()
    local rfc = tonumber((word:match "^%d+"))
    if rfc then
      self.rfc, self.named = rfc, true
      table.insert(self.found, { rfc = rfc, section = "-", named = false })
    end
  elseif units[word] then
    self.section = nil
  elseif word == "RFC" or word == "RFCs" then
    self:flush()
    self.expect, self.in_steps, self.named = true, false, false
  elseif word == "step" or word == "steps" then
    self.section, self.in_steps = nil, self.base ~= nil
  elseif self.in_steps and (self:steps(word) or word == "and" or word == "to") then
    self.range = word == "to"
  elseif no_section[word] then
    self.skip = true
  elseif word:find "^%d+%.%d[%d.]*$" or self.named and word:find "^%d%d?$" then
    self.in_steps = false
    self:number(word)
  elseif not joins[word] then
    self.in_steps = false
    self:flush()
    self.named, self.base = false, nil
  end
end

-- The references in a text: { rfc, section, named }. `section` is "16.6 step 7", "4.1", or
-- "-" for the RFC itself; `named` says whether the number of the RFC was right before it.
function references.parse(text)
  local reader = setmetatable({ rfc = 3261, named = false, found = {} }, Reader)
  for word in text:gmatch "%S+" do
    -- "(17.2.3)"):format(..." is a number, too.
    reader:word((word:gsub("^[%(%[\"'`]+", ""):gsub("[%)\"].*$", ""):gsub("[%],;:.'`]+$", "")))
    -- Behind a full stop, or what closes a bracket, nothing is a list any more.
    if word:find "[.;:%)]$" then
      reader:flush()
      reader.named, reader.in_steps = false, false
    end
  end
  reader:flush()
  return reader.found
end

-- The texts of a C file that may have references.
local function c_texts(text)
  local list = {}
  for comment in text:gmatch "/%*(.-)%*/" do
    list[#list + 1] = comment:gsub("\n%s*%*", " ")
  end
  for comment in text:gmatch "//([^\n]*)" do
    list[#list + 1] = comment
  end
  return list
end

-- The same of a Lua file: comments, of which neighbours are one, and lines of `it` or
-- `describe`, or that name an RFC.
local function lua_texts(text)
  local list, open = {}, nil
  for line in text:gmatch "[^\n]+" do
    local comment = line:match "^%s*%-%-+(.*)$"
    if comment then
      open = (open or "") .. " " .. comment
    else
      list[#list + 1], open = open, nil
      comment = line:match "%-%-(.*)$"
      if line:find "%f[%w]it%f[%W]" or line:find "%f[%w]describe%f[%W]"
        or line:find "RFC %d" then
        list[#list + 1] = line
      elseif comment then
        list[#list + 1] = comment
      end
    end
  end
  list[#list + 1] = open
  return list
end

-- Those of the files with these names: { file, rfc, section, named }.
function references.of(names)
  local list = {}
  for _, name in ipairs(names) do
    local texts = name:find "%.lua$" and lua_texts or c_texts
    for _, text in ipairs(texts(tree.read(name))) do
      for _, found in ipairs(references.parse(text)) do
        found.file = name
        list[#list + 1] = found
      end
    end
  end
  return list
end

-- What is in the proxy: neither the simulator nor what editors read.
function references.sources()
  local names = {}
  for _, case in ipairs { { "src", "[ch]" }, { "lua/tandem", "lua" } } do
    for _, name in ipairs(tree.files(case[1], case[2])) do
      if not name:find "^src/sim/" and not name:find "^src/lua/simlib"
        and not name:find "^lua/tandem/sim/" and not name:find "^lua/tandem/meta/" then
        names[#names + 1] = name
      end
    end
  end
  return references.of(names)
end

-- What is in specs, except in those about the documents themselves.
function references.specs()
  local names = {}
  for _, dir in ipairs { "spec/unit", "spec/sim", "spec/e2e", "spec/fuzz", "examples" } do
    for _, name in ipairs(tree.files(dir, "*")) do
      if name:find "_spec%.lua$" or name:find "_test%.c$" or name:find "^spec/fuzz/" then
        names[#names + 1] = name
      end
    end
  end
  return references.of(names)
end

return references
