-- A part of a page of Markdown that a program writes, between two marks that readers of the
-- page do not see.
local error, string, table = error, string, table

local _ENV = nil

local marked = {}

-- `text` with these lines between the marks of this name.
function marked.replace(text, name, lines)
  local first, last = "<!-- " .. name .. " -->\n", "<!-- end of " .. name .. " -->\n"
  local _, from = string.find(text, first, 1, true)
  local to = from and string.find(text, last, from, true)
  if not to then
    error("the page has no part " .. name, 0)
  end
  return string.sub(text, 1, from) .. "\n" .. table.concat(lines, "\n") .. "\n\n"
    .. string.sub(text, to)
end

return marked
