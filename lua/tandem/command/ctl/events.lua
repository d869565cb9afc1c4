-- What has changed lately, a line for each.
local servers = require "tandem.command.ctl.servers"
local text = require "tandem.command.text"
local duration = require "tandem.command.duration"
local ipairs, os, table, tonumber, type = ipairs, os, table, tonumber, type

local _ENV = nil

local events = {}

-- "2026-11-27T19:31:46.106Z" in seconds since 1970.
---@param ts string
---@return number?
function events.time(ts)
  local y, m, d, hour, min, sec = ts:match "^(%d+)-(%d+)-(%d+)T(%d+):(%d+):([%d.]+)Z$"
  if not y then
    return nil
  end
  y, m = tonumber(y), tonumber(m)
  if m <= 2 then -- the year begins in March: so the leap day is its last
    y, m = y - 1, m + 12
  end
  local days = 365 * y + y // 4 - y // 100 + y // 400 + (153 * m - 457) // 5 + tonumber(d) - 719469
  return ((days * 24 + tonumber(hour)) * 60 + tonumber(min)) * 60 + tonumber(sec)
end

local colours = {
  up = "green", ready = "green", down = "red", falling = "yellow", rising = "yellow",
  drain = "yellow", maint = "yellow", backup = "yellow",
}

-- 0: none takes calls.
local function tier(number)
  local n = tonumber(number)
  return n and (n == 0 and "none" or ("%g"):format(n)) or text.clean(number or "none")
end

local function change(event, paint)
  if event.to == nil then
    return ""
  end
  local to = ("%s"):format(event.to)
  local shown = paint(text.clean(to), colours[to])
  if event.event == "pool.tier" then
    return ("tier %s -> %s"):format(tier(event.from), tier(event.to))
  end
  return event.from and event.from ~= "none" and ("%s -> %s"):format(text.clean(event.from), shown)
    or shown
end

local function list_of(event)
  local parts = {}
  for _, name in ipairs { "added", "removed", "changed" } do
    if event[name] then
      parts[#parts + 1] = name .. " " .. event[name]:gsub(",", ", ")
    end
  end
  return text.join(parts)
end

local say = {
  reload = function(event)
    local list = list_of(event)
    return ("generation %d runs%s"):format(event.generation, list ~= "" and ": " .. list or "")
  end,
  ["config.rejected"] = function(event)
    return event.reason or ""
  end,
  ["server.hold"] = function(event)
    local span = type(event.hold) == "number" and event.hold > 0
      and "held for " .. duration.text(event.hold) or event.hold == 0 and "hold ended" or "held"
    return ("%s: %s"):format(span, event.reason or "")
  end,
}

local function details(event)
  local parts = {}
  if event.reason then
    parts[1] = event.who and ("%s (%s)"):format(event.reason, event.who) or event.reason
  end
  if event["for"] then
    parts[#parts + 1] = ("for %s"):format(duration.text(event["for"]))
  end
  if event.left then
    parts[#parts + 1] = ("%s left"):format(event.left)
  end
  return text.join(parts)
end

-- One event as a line.
---@param event table an event of /v1/events
---@param out tandem.Terminal
---@return string
function events.line(event, out)
  local time = events.time(event.ts)
  local subject = event.pool and (event.server and event.pool .. "/" .. event.server or event.pool)
    or event.event
  local special = say[event.event]
  local rest
  if special then
    rest = text.clean(special(event))
    rest = event.event == "config.rejected" and out.paint("rejected: " .. rest, "red") or rest
  else
    rest = change(event, out.paint)
    local more = text.clean(details(event))
    rest = more ~= "" and rest .. "  " .. more or rest
  end
  return ("%s  %s  %s\n"):format(time and servers.clock(time, os.time()) or event.ts,
    out.paint(text.clean(subject), "bold"), rest)
end

---@param list table[]
---@param out tandem.Terminal
---@return string
function events.text(list, out)
  local lines = {}
  for i, event in ipairs(list) do
    lines[i] = events.line(event, out)
  end
  return table.concat(lines)
end

return events
