-- Spans of time as people write and read them.
local math, tonumber = math, tonumber

local _ENV = nil

local duration = {}

local units = { s = 1, m = 60, h = 3600, d = 86400 }

-- "30s", "5m", "2h", "1d", "1h30m"; a number without a unit is seconds.
---@param text string
---@return number? seconds more than 0
---@return string? why
function duration.parse(text)
  local seconds, rest = 0, text
  if text:find "^%d+%.?%d*$" then
    rest = text .. "s"
  end
  while rest ~= "" do
    local number, unit, more = rest:match "^(%d+%.?%d*)([smhd])(.*)$"
    if not number then
      return nil, ("a duration is 30s, 5m, 2h, 1d or 1h30m, not '%s'"):format(text)
    end
    seconds, rest = seconds + tonumber(number) * units[unit], more
  end
  if seconds <= 0 then
    return nil, "a duration is more than 0"
  end
  return seconds
end

-- The same, for what lasts no longer than that.
---@param most number seconds
---@return fun(text: string): number?, string?
function duration.up_to(most)
  return function(text)
    local seconds, why = duration.parse(text)
    if seconds and seconds > most then
      return nil, ("at most %s, not '%s'"):format(duration.text(most), text)
    end
    return seconds, why
  end
end

-- In one unit, the largest of which there are two: "95 s", "4 min", "30 h", "12 d".
---@param seconds number
---@return string
function duration.text(seconds)
  seconds = math.max(seconds, 0)
  if seconds < 119.5 then
    return ("%.0f s"):format(seconds)
  elseif seconds < 119.5 * 60 then
    return ("%.0f min"):format(seconds / 60)
  elseif seconds < 47.5 * 3600 then
    return ("%.0f h"):format(seconds / 3600)
  end
  return ("%.0f d"):format(seconds / 86400)
end

-- What took less than that: "0.2 ms", "12 ms", "1.24 s".
---@param seconds number
---@return string
function duration.short(seconds)
  if seconds < 0.00995 then
    return ("%.1f ms"):format(seconds * 1000)
  elseif seconds < 0.9995 then
    return ("%.0f ms"):format(seconds * 1000)
  elseif seconds < 99.995 then
    return ("%.2f s"):format(seconds)
  end
  return duration.text(seconds)
end

return duration
