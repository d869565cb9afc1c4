-- A decision trace (tandem/why.lua) as a call flow: the caller, the proxy and each
-- server that was tried, with the seconds since the request came.
--
--              caller         tandem          pbx/a          pbx/b
--    0.000       |---INVITE---->|              |              |
--    0.000       |              |---INVITE---->|              |
--    4.000       |              |    silent    x              |
--    4.000       |              |-----------INVITE----------->|
--
-- It is drawn of what the proxy knows: retransmissions, ACK and 100 Trying are not in
-- it. Of a packet trace a simulator makes another one (sim/ladder.lua): there a line is
-- a packet, here it is an event; they have nothing in common but the name.
local ipairs, math, string, table = ipairs, math, string, table

local _ENV = nil

local ladder = {}

local time_width = 9
local narrowest, widest = 12, 20

-- Failed before anything was sent.
local unsent = { no_source = true, too_big = true, dns_none = true, dns_timeout = true }

-- ---- what is drawn: { t, from, to, text } with columns; `lost`: it ends in an x ----

local function column_of(flow, name)
  local column = flow.known[name]
  if not column then
    column = #flow.names + 1
    flow.names[column], flow.known[name] = name, column
  end
  return column
end

local function arrow(flow, step, from, to, text, is_lost)
  flow[#flow + 1] = { t = step.t, from = from, to = to, text = text, lost = is_lost }
end

local caller, proxy = 1, 2
local draw = {}

function draw.received(flow, step)
  flow.method = step.method
  arrow(flow, step, caller, proxy, step.method)
end

function draw.refused(flow, step)
  arrow(flow, step, proxy, caller, ("%d"):format(step.code))
end

function draw.cancel(flow, step)
  arrow(flow, step, caller, proxy, "CANCEL")
end

function draw.reply(flow, step)
  arrow(flow, step, proxy, caller, ("%d"):format(step.code))
end

function draw.attempt(flow, step)
  local column = column_of(flow, step.server or step.address or step.uri or "?")
  flow.attempts[step.number] = { column = column }
  if not unsent[flow.failures[step.number]] then
    arrow(flow, step, proxy, column, flow.method or "")
  end
end

local function attempt(flow, step)
  return flow.attempts[step.number] or { column = proxy }
end

function draw.provisional(flow, step)
  local tried = attempt(flow, step)
  tried.answered = true
  arrow(flow, step, tried.column, proxy, ("%d"):format(step.code))
end

function draw.answer(flow, step)
  local tried = attempt(flow, step)
  if step.is_local then
    arrow(flow, step, proxy, tried.column, "ring timeout", true)
  else
    arrow(flow, step, tried.column, proxy, ("%d"):format(step.code))
  end
end

function draw.failed(flow, step)
  arrow(flow, step, proxy, attempt(flow, step).column, step.cause, true)
end

function draw.cancelling(flow, step)
  arrow(flow, step, proxy, attempt(flow, step).column, "CANCEL")
end

function draw.abandoned(flow, step)
  local tried = attempt(flow, step)
  if tried.answered then
    arrow(flow, step, proxy, tried.column, "CANCEL")
  else
    arrow(flow, step, proxy, tried.column, "given up", true)
  end
end

function draw.late(flow, step)
  local column = column_of(flow, step.server or "server")
  arrow(flow, step, column, proxy, "late 2xx")
  if step.became == "ended" then
    arrow(flow, step, proxy, column, "ACK, BYE")
  else
    arrow(flow, step, proxy, caller, "2xx")
  end
end

function draw.takeover(flow, step)
  local column = column_of(flow, step.server or "server")
  arrow(flow, step, column, proxy, ("%d"):format(step.code))
  arrow(flow, step, proxy, caller, ("%d"):format(step.code))
end

local function flow_of(record)
  local flow = {
    names = { "caller", "tandem" }, known = {}, attempts = {}, failures = {},
    method = record.method,
  }
  for _, step in ipairs(record.steps) do
    if step.what == "failed" then
      flow.failures[step.number] = step.cause
    end
  end
  for _, step in ipairs(record.steps) do
    local how = draw[step.what]
    if how then
      how(flow, step)
    end
  end
  return flow
end

-- ---- drawing ----

-- The end of a name that is too long says more than its begin.
local function fit(name, width)
  return #name <= width and name or ".." .. name:sub(#name - width + 3)
end

local function put(row, at, text)
  for i = 1, #text do
    row[at + i - 1] = text:sub(i, i)
  end
end

local function blank(lines, width)
  local row = {}
  for i = 1, width do
    row[i] = " "
  end
  for _, at in ipairs(lines) do
    row[at] = "|"
  end
  return row
end

local function finish(row)
  return (table.concat(row):gsub("%s+$", ""))
end

local function header(names, lines, width, gap)
  local row = blank({}, width)
  for i, name in ipairs(names) do
    local text = fit(name, gap - 2)
    put(row, lines[i] - #text // 2, text)
  end
  return finish(row)
end

local function draw_arrow(item, lines, width)
  local row = blank(lines, width)
  local left, right = lines[math.min(item.from, item.to)], lines[math.max(item.from, item.to)]
  local room = right - left - 1
  local text = fit(item.text, room - 2)
  local before = (room - #text) // 2
  put(row, 1, string.format("%8.3f", item.t))
  if item.lost then
    put(row, left + 1 + before, text)
    row[right] = "x"
    return finish(row)
  end
  put(row, left + 1, ("-"):rep(before) .. text .. ("-"):rep(room - #text - before))
  if item.to > item.from then
    row[right - 1] = ">"
  else
    row[left + 1] = "<"
  end
  return finish(row)
end

---@param record table
---@param columns? integer of the terminal; 80
---@return string
function ladder.text(record, columns)
  local flow = flow_of(record)
  local names = flow.names
  local gap = (((columns or 80) - time_width - narrowest) // (#names - 1))
  gap = math.max(narrowest, math.min(gap, widest))
  local lines = {}
  for i = 1, #names do
    lines[i] = time_width + narrowest // 2 + (i - 1) * gap
  end
  local width = lines[#lines] + gap // 2
  local out = { header(names, lines, width, gap) }
  for _, item in ipairs(flow) do
    out[#out + 1] = draw_arrow(item, lines, width)
  end
  return table.concat(out, "\n") .. "\n"
end

return ladder
