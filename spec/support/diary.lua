-- What callers and servers of spec/e2e/sipp/kill_*.xml wrote down about each call.
local process = require "support.process"
local ipairs, setmetatable, string, table, tonumber = ipairs, setmetatable, string, table, tonumber

local _ENV = nil

local diary = {}

-- What to start sipp with so that it keeps one.
function diary.args(name, ...)
  return { "-trace_logs", "-log_file", process.path(name .. ".calls"), ... }
end

-- What one end wrote: { word = { { id =, at = seconds, what = }, ... }, ... }, and by id.
function diary.read(run)
  local found = setmetatable({}, {
    __index = function(self, word)
      self[word] = { by = {} }
      return self[word]
    end,
  })
  for line in string.gmatch(process.read(process.path(run.name .. ".calls")) or "",
    "([^\n]+)\n") do
    local word, id, at, what = string.match(line, "^(%a+) (%S+) (%d+) ?(%w*)")
    if word then
      local entry = { id = id, at = tonumber(at) / 1000, what = what }
      table.insert(found[word], entry)
      found[word].by[id] = found[word].by[id] or entry -- a bad cable says things twice
    end
  end
  return found
end

-- How many of these entries say so.
function diary.count(list, what)
  local n = 0
  for _, entry in ipairs(list) do
    n = n + (entry.what == what and 1 or 0)
  end
  return n
end

return diary
