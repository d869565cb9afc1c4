-- The decision trace, for an operator: what became of a request, and why. The core
-- keeps it as steps of words and fields (src/proxy/steps.h); here they get names, and
-- the candidates of each choice a verdict. Also which requests are open.
local answers = require "tandem.answers"
local core = require "tandem.core"
local registry = require "tandem.registry"
local ipairs, math, table, tonumber, type = ipairs, math, table, tonumber, type

local _ENV = nil

local why = {}

local default_most, most = 20, 100

-- ---- the candidates of a choice ----

-- Lines of told.lua: what is said of each server, and of how many nothing.
local function read_lines(text)
  local list, more = {}, 0
  for line in text:gmatch "[^\n]+" do
    local rest = line:match "^%+(%d*)$"
    if rest then
      more = math.tointeger(tonumber(rest)) or 1
    else
      local name, tier, rule, detail, time = line:match "^(.-)\t(.-)\t(.-)\t(.-)\t(.*)$"
      list[#list + 1] = name and {
        name = name, tier = math.tointeger(tonumber(tier)), rule = rule,
        detail = detail ~= "" and detail or nil, time = tonumber(time),
      }
    end
  end
  return list, more
end

-- Rules that say what a server is, not why nobody can have it.
local is_open = { up = true, slow_start = true, spare = true, unknown = true }

-- Where a stage of view.lua, or another way to be chosen, says more than the policy.
local stage_rule = {
  sticky = "sticky", slow = "slow_start", failback = "failback", resort = "last_resort",
}

local function chosen_rule(stage, state)
  return stage_rule[stage] or (state == "nowhere" and "nowhere") or "policy"
end

-- What became of one that was not chosen.
local function verdict(candidate, choice, refused, tried)
  local limit = refused[candidate.name]
  if tried[candidate.name] then
    return "excluded", "tried"
  elseif limit then
    return "excluded", limit.rule, limit.detail or candidate.detail
  elseif not is_open[candidate.rule] then
    return "excluded", candidate.rule, candidate.detail
  elseif candidate.rule ~= "up" then
    return "next", candidate.rule, candidate.detail
  elseif choice.tier and candidate.tier > choice.tier then
    return "next", "tier", ("tier %d is usable"):format(choice.tier)
  end
  return "next", "policy"
end

local function by_name(list)
  local found = {}
  for _, item in ipairs(list) do
    found[item.name] = item
  end
  return found
end

-- Those that only the limits spoke of come after the others.
local function complete(list, refused)
  local known = by_name(list)
  for _, item in ipairs(refused) do
    if not known[item.name] then
      list[#list + 1] = item
    end
  end
end

local function since_or_left(candidate, now)
  if not candidate.time then
    return nil, nil
  elseif candidate.rule == "down" or candidate.rule == "left" then
    return math.max(now - candidate.time, 0), nil
  end
  return nil, math.max(candidate.time - now, 0)
end

-- `seen`: of each pool the text that came last, and who was tried.
local function candidates(choice, told, refused_text, seen, now)
  local before = seen[choice.pool] or { tried = {}, told = "" }
  seen[choice.pool] = before
  before.told = told ~= "=" and told or before.told
  local list, more = read_lines(before.told)
  local refused, more_refused = read_lines(refused_text or "")
  local limits = by_name(refused)
  complete(list, refused)
  choice.tier = choice.server and (by_name(list)[choice.server] or {}).tier
  for i, item in ipairs(list) do
    local shown = { name = item.name, tier = item.tier }
    if item.name == choice.server then
      shown.verdict, shown.rule = "chosen", chosen_rule(choice.stage, item.rule)
      shown.detail = choice.stage == "resort" and item.rule or nil
    else
      shown.verdict, shown.rule, shown.detail = verdict(item, choice, limits, before.tried)
    end
    if shown.rule == item.rule or shown.rule == "last_resort" then
      shown.ago, shown.left = since_or_left(item, now)
    end
    list[i] = shown
  end
  if choice.server then
    before.tried[choice.server] = true
  end
  choice.candidates, choice.more = list, more > 0 and more or nil
  choice.more_refused = more_refused > 0 or nil
end

-- ---- steps ----

local function text(value)
  return value ~= "" and value or nil
end

-- Notes of the Lua half, by their first field.
local notes = {}

function notes.choice(step, f, seen, now)
  step.what = "choice"
  step.pool, step.server = f[2], text(f[3])
  step.stage = step.server and f[4] or nil
  step.none = not step.server and f[4] or nil -- "empty", "down" or "full"
  step.policy = text(f[5])
  candidates(step, f[6] or "", f[7], seen, now)
end

function notes.relay(step, f)
  step.what, step.rule = "relay", f[2]
  if type(f[3]) == "number" then
    step.code = f[3]
  else
    step.cause = text(f[3])
  end
end

function notes.returned(step, f)
  step.what, step.word = "returned", f[2]
end

function notes.fork(step, f)
  step.what, step.rule, step.left_out = "fork", f[2], f[3]
end

local shapes = {}

function shapes.received(step, f)
  step.method, step.uri, step.caller, step.kind = f[1], f[2], text(f[3]), text(f[4])
  step.source, step.from, step.to = text(f[5]), text(f[6]), text(f[7])
end

function shapes.note(step, f, seen, now)
  local shape = notes[f[1]]
  if shape then
    shape(step, f, seen, now)
  end
end

function shapes.attempt(step, f)
  step.number, step.group, step.server = f[1], f[2], text(f[3])
  step.uri, step.address = text(f[4]), text(f[5])
end

function shapes.provisional(step, f)
  step.number, step.code = f[1], f[2]
end

function shapes.answer(step, f)
  step.number, step.code, step.is_local = f[1], f[2], f[3] == 1 or nil
end

function shapes.failed(step, f)
  step.number, step.cause = f[1], f[2]
end

function shapes.cancelling(step, f)
  step.number = f[1]
end

shapes.abandoned = shapes.cancelling

function shapes.verb(step, f)
  step.verb, step.at = f[1], text(f[2])
end

function shapes.error(step, f)
  step.message = f[1]
end

function shapes.reply(step, f)
  step.code = f[1]
end

function shapes.late(step, f)
  step.server, step.became = text(f[1]), f[2]
end

function shapes.takeover(step, f)
  step.code, step.server = f[1], text(f[2])
end

function shapes.refused(step, f)
  step.code, step.reason = f[1], text(f[2])
end

local function show_step(raw, seen, began)
  local step = { what = raw[1], t = raw[2] }
  local shape = shapes[raw[1]]
  if shape then
    shape(step, table.move(raw, 3, #raw, 1, {}), seen, began + raw[2])
  end
  return step
end

-- What the line about all of it says comes from its steps.
local function sum_up(record, step)
  if step.what == "received" then
    record.method, record.uri, record.caller = step.method, step.uri, step.caller
    record.kind, record.source, record.from = step.kind, step.source, step.from
    record.to = step.to
  elseif step.what == "verb" then
    record.at, record.verb = step.at, step.verb
  elseif step.what == "error" then
    record.error = step.message
  elseif step.what == "refused" then
    record.refused = true
  elseif step.what == "late" then
    record.late = step.became
  elseif step.what == "takeover" then
    record.takeover = true
  end
end

local function show(raw)
  local record = {
    call_id = raw.call_id, time = raw.time, total = raw.total, code = raw.code,
    failed = raw.failed or nil, open = raw.open or nil, cut = raw.cut or nil,
    worker = core.worker(), steps = {},
  }
  local seen = {}
  for i, step in ipairs(raw.steps) do
    local shown = show_step(step, seen, raw.time)
    record.steps[i] = shown
    sum_up(record, shown)
  end
  return record
end

-- ---- answers ----

-- args: call_id, for that call; or last, so many; failed: only those. Newest first.
---@param args { call_id: string?, last: integer?, failed: boolean? }
---@return table[]? list
---@return string? why
function why.records(args)
  local last = args.last or default_most
  if args.call_id ~= nil and type(args.call_id) ~= "string" then
    return nil, "why: call_id: a string expected"
  elseif math.type(last) ~= "integer" or last < 1 or last > most then
    return nil, ("why: last: a number from 1 to %d expected"):format(most)
  end
  local list = core.traces(args.call_id, args.call_id and most or last, args.failed == true)
  for i, raw in ipairs(list) do
    list[i] = show(raw)
  end
  return list
end

answers.on("why", why.records)

-- The servers that have calls, or requests that are open.
local function busy()
  local list = {}
  for _, pool in ipairs(registry.pools) do
    for _, server in ipairs(pool.servers) do
      local calls, inflight = server.facts:get("calls", "inflight")
      if calls > 0 or inflight > 0 then
        list[#list + 1] = {
          pool = pool.name, server = server.name, calls = calls, inflight = inflight,
        }
      end
    end
  end
  return list
end

-- Requests in progress here, oldest first: as many as args.last says, and how many
-- there are; and of all workers together, the calls at each server.
---@param args { last: integer? }
---@return table? answer
---@return string? why
function why.calls(args)
  local last = args.last or default_most
  if math.type(last) ~= "integer" or last < 1 or last > 1000 then
    return nil, "calls: last: a number from 1 to 1000 expected"
  end
  local list, total = core.requests(last)
  return { requests = list, total = total, servers = busy(), worker = core.worker() }
end

answers.on("calls", why.calls)

return why
