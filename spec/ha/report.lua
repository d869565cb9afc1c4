-- What faults cost: of each mark (spec/ha/faults.lua) one row, from what the observers
-- saw, and whether it is within its limits.
local account = require "ha.account"
local ipairs, math, pairs, string, table = ipairs, math, pairs, string, table

local _ENV = nil

local report = {}

-- The columns of the table, in order: key, heading, format.
local columns = {
  { "layout", "layout", "%s" }, { "advert", "advert", "%.1f s" }, { "what", "what", "%s" },
  { "gap", "gap", "%.0f ms" }, { "up", "up", "%d" }, { "ringing", "set-up", "%d" },
  { "lost_established", "lost up", "%d" }, { "lost_setup", "lost set-up", "%d" },
  { "contradicted", "2nd final", "%d" },
  { "repeated", "repeated", "%d" }, { "slowest", "slowest", "%.2f s" },
  { "ended", "ended in", "%.2f s" }, { "calls", "calls", "%d" },
  { "transactions", "at servers", "%d" }, { "verdict", "result", "%s" },
}

-- Which mark a time belongs to: the last that had begun; nil: before all.
local function row_at(rows, time)
  local found = nil
  for _, row in ipairs(rows) do
    if row.at <= time then
      found = row
    end
  end
  return found
end

local function new_row(w, mark, next_at, senders)
  local row = {
    layout = w.layout, advert = w.advert, what = mark.what, at = mark.at, limits = mark.limits,
    gap = account.gap(w.probes[mark.vip], mark.at, next_at) * 1000,
    up = 0, ringing = 0, lost_established = 0, lost_setup = 0, repeated = 0, slowest = 0,
    ended = 0, calls = 0, transactions = 0, contradicted = 0, intruded = 0, lost = {},
    misled = {},
  }
  if mark.quiet then
    local mac = w.mac[mark.quiet.machine]
    for _, at in ipairs(senders[w.vips[mark.vip]][mac]) do
      if at > mark.quiet.from and at < mark.quiet.to then
        row.intruded = row.intruded + 1
      end
    end
  end
  return row
end

-- Was it up, or in set-up, at this moment?
local function count_state(row, call)
  local up = call.up and call.acked
  if up and up <= row.at and (call.bye or math.huge) > row.at then
    row.up = row.up + 1
  elseif call.invited <= row.at and (call.acked or math.huge) > row.at then
    row.ringing = row.ringing + 1
  end
end

local function add_call(rows, call, ring)
  for _, row in ipairs(rows) do
    count_state(row, call)
  end
  local row = row_at(rows, call.invited)
  if row then
    row.calls = row.calls + 1
    row.transactions = row.transactions + call.transactions
    row.repeated = row.repeated + call.repeated
    row.slowest = math.max(row.slowest, (call.rang or call.final or call.invited) - call.invited)
  end
  for _, ending in ipairs(account.endings(call, ring)) do
    row = row_at(rows, ending.at)
    if row then
      row.ended = math.max(row.ended, ending.took)
    end
  end
  -- Where it was told so, which may be long after it began.
  if call.contradicted then
    row = row_at(rows, call.contradicted) or rows[1]
    row.contradicted = row.contradicted + 1
    table.insert(row.misled, call)
  end
  local loss = account.loss(call)
  if loss then
    row = row_at(rows, loss == "established" and (call.bye or call.final)
      or call.invited + ring + 0.5) or rows[1]
    local key = loss == "established" and "lost_established" or "lost_setup"
    row[key] = row[key] + 1
    table.insert(row.lost, call)
  end
end

-- What is not as it should be, in words; "ok" when all is.
local function judge(row)
  local list = {}
  local function expect(ok, ...)
    if not ok then
      list[#list + 1] = string.format(...)
    end
  end
  local limits = row.limits
  expect(row.lost_established == 0, "calls that were up are lost")
  expect(row.lost_setup <= limits.setup, "more than %d in set-up lost", limits.setup)
  expect(row.contradicted == 0, "%d callers told another final after the first",
    row.contradicted)
  expect(row.intruded == 0, "%d packets from an address that had gone", row.intruded)
  expect(row.transactions == row.calls or row.lost_setup > 0, "calls and transactions differ")
  expect(row.gap <= (limits.gap or math.huge) * 1000, "gap over %.1f s", limits.gap or 0)
  expect(row.ended <= (limits.ended or math.huge), "ended after %.1f s", limits.ended or 0)
  return #list == 0 and "ok" or table.concat(list, ", ")
end

-- One row per mark; w: the world, calls and senders: as account.read gives them.
function report.rows(w, marks, calls, senders)
  local rows = {}
  for i, mark in ipairs(marks) do
    rows[i] = new_row(w, mark, marks[i + 1] and marks[i + 1].at or marks.over, senders)
  end
  for _, call in ipairs(calls) do
    add_call(rows, call, w.ring)
  end
  for _, row in ipairs(rows) do
    row.verdict = judge(row)
  end
  return rows
end

-- The whole table as text that Markdown takes as well.
function report.text(rows)
  local lines, width = {}, {}
  local function add(cells)
    for i, cell in ipairs(cells) do
      width[i] = math.max(width[i] or 3, #cell)
    end
    lines[#lines + 1] = cells
  end
  local head = {}
  for i, column in ipairs(columns) do
    head[i] = column[2]
  end
  add(head)
  for _, row in ipairs(rows) do
    local cells = {}
    for i, column in ipairs(columns) do
      cells[i] = string.format(column[3], row[column[1]])
    end
    add(cells)
  end
  local out = {}
  for n, cells in ipairs(lines) do
    local padded, rule = {}, {}
    for i, cell in ipairs(cells) do
      padded[i] = cell .. string.rep(" ", width[i] - #cell)
      rule[i] = string.rep("-", width[i])
    end
    out[#out + 1] = "| " .. table.concat(padded, " | ") .. " |"
    if n == 1 then
      out[#out + 1] = "|-" .. table.concat(rule, "-|-") .. "-|"
    end
  end
  return table.concat(out, "\n") .. "\n"
end

-- The rows as plain data, for JSON.
function report.data(rows)
  local list = {}
  for i, row in ipairs(rows) do
    local plain = {}
    for key, value in pairs(row) do
      if key ~= "lost" and key ~= "misled" and key ~= "limits" then
        plain[key] = value
      end
    end
    list[i] = plain
  end
  return list
end

-- A lost call in words, for who looks for the reason.
function report.story(call, since)
  local parts = { call.id, call.kind }
  for _, key in ipairs { "invited", "rang", "final", "acked", "cancelled", "cancel_final", "bye",
    "bye_final", "refused_at", "refusal_acked", "contradicted" } do
    if call[key] then
      parts[#parts + 1] = string.format("%s=%+.2f", key, call[key] - since)
    end
  end
  for _, key in ipairs { "code", "cancel_code", "bye_code", "contradicted_by", "repeated",
    "transactions" } do
    if call[key] then
      parts[#parts + 1] = string.format("%s=%d", key, call[key])
    end
  end
  return table.concat(parts, " ")
end

return report
