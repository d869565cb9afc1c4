-- The live page at / and what it asks for every second. Any number of people may look:
-- the workers are asked twice a second at most.
local cjson = require "cjson"
local failure = require "tandem.control.failure"
local host = require "tandem.control.host"
local assert, io, ipairs, package, pairs, table = assert, io, ipairs, package, pairs, table

local _ENV = nil

local most_events = 50 -- transitions that are shown
local most_failed = 10 -- requests
local failed_every = 2 -- seconds: workers go through all their traces for it
local fresh = 0.5 -- seconds: this old may be what another reader was told
local tolerable = 1 -- and this old while the next is being made

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "a"
  if file then
    file:close()
  end
  return text
end

-- The file beside the modules.
local function beside(name)
  local path = assert(package.searchpath("tandem.control.api", package.path))
  path = path:gsub("api%.lua$", name)
  return assert(read(path), "cannot read " .. path)
end

local machine = (read "/proc/sys/kernel/hostname" or ""):match "%S+"

local function empty(list)
  for _, pool in ipairs(list) do
    pool.servers = {}
  end
  return list
end

-- All servers in their pools, asked for piece by piece.
local function pools()
  local list, from = nil, 1
  repeat
    local glance, why = host.ask("glance", { from = from })
    if not glance then
      return nil, why
    end
    list = list or empty(glance.pools)
    for _, server in ipairs(glance.servers) do
      local pool = list[server.pool]
      if pool then -- no reload in between
        server.pool = nil
        pool.servers[#pool.servers + 1] = server
      end
    end
    from = glance.next
  until not from
  return list
end

-- The numbers that every worker has for itself, added up.
local function sum(what)
  local answers, why = host.ask_all(what)
  if not answers then
    return nil, why
  end
  local total = {}
  for _, answer in ipairs(answers) do
    for name, value in pairs(answer) do
      total[name] = (total[name] or 0) + value
    end
  end
  return total
end

-- Not what there was at the start, and not a check that failed or succeeded before that
-- meant anything.
local function is_news(event)
  local to = event.to
  return event.from ~= "none" and to ~= "falling" and to ~= "rising"
    and not (event.from == "falling" and to == "up")
end

local events, last_event = {}, 0 -- newest first; the number of the newest

-- What has changed lately: what is new since the last time before what was known.
local function transitions()
  local text, why = host.call("events", ("%d"):format(last_event))
  if not text then
    return nil, why
  end
  local answer, list = cjson.decode(text), {}
  for i = #answer.events, 1, -1 do
    local event = answer.events[i]
    if is_news(event) then
      list[#list + 1] = event
    end
  end
  table.move(events, 1, most_events - #list, #list + 1, list)
  events = table.move(list, 1, most_events, 1, {})
  last_event = answer.last
  return events
end

local failed, failed_at = {}, 0

-- Requests that failed, newest first.
local function failures(now)
  if now - failed_at < failed_every and now >= failed_at then
    return failed
  end
  local answers, why = host.ask_all("why", { last = most_failed, failed = true })
  if not answers then
    return nil, why
  end
  local list = {}
  for _, answer in ipairs(answers) do
    for _, record in ipairs(answer) do
      list[#list + 1] = failure(record)
    end
  end
  table.sort(list, function(a, b)
    return a.time + a.total > b.time + b.total
  end)
  failed, failed_at = table.move(list, 1, most_failed, 1, {}), now
  return failed
end

local function reload()
  local text, why = host.call "reloads"
  return text and cjson.decode(text), why
end

-- What the page shows beside what the process says of itself, and who knows it.
local parts = {
  pools = pools, events = transitions, reload = reload, failed = failures,
  load = function() return sum "load" end,
  totals = function() return sum "totals" end,
}

local function look()
  local shown = host.info()
  shown.host = machine
  for name, ask in pairs(parts) do
    local value, why = ask(shown.now)
    if not value then
      return nil, why
    end
    shown[name] = value
  end
  return shown
end

local last, is_looking = nil, false

local function page()
  local now = host.info().now
  local age = last and now - last.now
  if age and age >= 0 and age < (is_looking and tolerable or fresh) then
    return last
  end
  is_looking = true
  local shown, why = look()
  is_looking = false
  last = shown or last
  return shown, why
end

return function(route, api)
  local html = beside "page.html"

  route("GET", "/", "read", function()
    return api.text("text/html; charset=utf-8", html)
  end)
  route("GET", "/v1/page", "read", page)
end
