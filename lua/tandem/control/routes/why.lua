-- What became of requests, and which of them are open.
local explain = require "tandem.control.explain"
local host = require "tandem.control.host"
local ladder = require "tandem.control.ladder"
local terminal_text = require "tandem.command.text"
local ipairs, math, table, tonumber = ipairs, math, table, tonumber

local _ENV = nil

-- The answers of all workers as one list, newest first: by what ended last, and what
-- has not ended yet before all of it.
local function records(args)
  local answers, why = host.ask_all("why", args)
  if not answers then
    return nil, why
  end
  local list, ends = {}, {}
  for _, answer in ipairs(answers) do
    for _, record in ipairs(answer) do
      list[#list + 1] = record
      ends[record] = record.open and math.huge or record.time + record.total
    end
  end
  -- Of one worker they are in order; a stable sort keeps those of one moment so.
  local at = {}
  for i, record in ipairs(list) do
    at[record] = i
  end
  table.sort(list, function(a, b)
    return ends[a] > ends[b] or (ends[a] == ends[b] and at[a] < at[b])
  end)
  return list
end

local function number(text, default, most)
  if text == nil then
    return default
  end
  local n = math.tointeger(tonumber(text))
  return n and n >= 1 and n <= most and n or nil
end

local function cut(list, n)
  return #list > n and table.move(list, 1, n, 1, {}) or list
end

local function wrong_last(most)
  return nil, { status = 400, error = ("last: a number from 1 to %d expected"):format(most) }
end

local shown = {
  text = explain.text,
  ladder = function(record)
    return ladder.text(record)
  end,
}

-- Oldest first, as people read, and without what moves the cursor of a terminal.
local function as_text(list, show)
  local parts = {}
  for i = #list, 1, -1 do
    parts[#parts + 1] = show(list[i])
  end
  return (table.concat(parts, "\n"):gsub("[^\n]+", terminal_text.clean))
end

local function of_call(api, request, call_id)
  local as = request.query.as
  if as and as ~= "json" and not shown[as] then
    return nil, { status = 400, error = "as: json, text or ladder expected" }
  end
  local list, why = records { call_id = call_id }
  if not list then
    return nil, why
  elseif #list == 0 then
    return nil, { status = 404, error = ("nothing is known of Call-ID '%s'"):format(call_id) }
  elseif shown[as] then
    return api.text("text/plain; charset=utf-8", as_text(list, shown[as]))
  end
  return list
end

local most = 100
local is_true = { ["1"] = true, ["true"] = true, [""] = true }

local function latest(api, request)
  local last = number(request.query.last, 20, most)
  if not last then
    return wrong_last(most)
  end
  local list, why = records { last = last, failed = is_true[request.query.failed] }
  return list and api.list(cut(list, last)), why
end

local calls_most = 1000

local function calls(request)
  local last = number(request.query.last, most, calls_most)
  if not last then
    return wrong_last(calls_most)
  end
  local answers, why = host.ask_all("calls", { last = last })
  if not answers then
    return nil, why
  end
  local all = { requests = {}, total = 0, servers = answers[1].servers }
  for _, answer in ipairs(answers) do
    table.move(answer.requests, 1, #answer.requests, #all.requests + 1, all.requests)
    all.total = all.total + answer.total
  end
  table.sort(all.requests, function(a, b)
    return a.age > b.age or (a.age == b.age and a.call_id < b.call_id)
  end)
  all.requests = cut(all.requests, last)
  return all
end

return function(route, api)
  route("GET", "/v1/why", "read", function(request)
    return latest(api, request)
  end)
  route("GET", "/v1/why/{call_id}", "read", function(request, params)
    return of_call(api, request, params.call_id)
  end)
  route("GET", "/v1/calls", "read", calls)
end
