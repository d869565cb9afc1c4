-- Where a command prints: is it a terminal, how wide is it, does it want colours.
local text = require "tandem.command.text"
local error, io, os, setmetatable, tonumber = error, io, os, setmetatable, tonumber

local _ENV = nil

local terminal = {}
local Terminal = {}
Terminal.__index = Terminal

local function columns()
  local pipe = io.popen "stty size 2>/dev/null </dev/tty"
  local size = pipe and pipe:read "l" or ""
  if pipe then
    pipe:close()
  end
  local width = tonumber(size:match "^%d+ (%d+)$" or os.getenv "COLUMNS" or "")
  return width and width >= 20 and width or 80
end

-- Standard output. Elsewhere than on a terminal nothing is cut, coloured or rewritten.
function terminal.new()
  local is_terminal = os.execute "test -t 1" == true
  local no_color, term = os.getenv "NO_COLOR", os.getenv "TERM"
  local has_colour = is_terminal and (not no_color or no_color == "") and term ~= "dumb"
  return setmetatable({
    is_terminal = is_terminal, width = is_terminal and columns() or nil,
    paint = text.painter(has_colour),
  }, Terminal)
end

-- Raises { code = 1 } when it cannot be written; without a text when nobody reads it any
-- more.
---@param s string
function Terminal.write(_, s)
  local ok, why = io.stdout:write(s)
  if ok then
    ok, why = io.stdout:flush()
  end
  if not ok then
    error({ code = 1, text = why ~= "Broken pipe" and "cannot write: " .. why or nil }, 0)
  end
end

-- One line on standard error that the next one replaces; nothing elsewhere than on a
-- terminal. "" takes it away.
---@param s string
function Terminal:progress(s)
  if self.is_terminal then
    io.stderr:write("\r\27[K", s)
    io.stderr:flush()
  end
end

return terminal
