-- What happened in each second of a crowd: what sipp counted, and what the kernel did.
local ipairs, pairs, string, tonumber = ipairs, pairs, string, tonumber

local _ENV = nil

local seconds = {}

-- Columns of sipp's statistics that count from its start; `lost` are calls that were given up.
local columns = {
  made = "TotalCallCreated", answered = "answered(C)", refused = "refused(C)",
  failed = "failed(C)", ended = "ended(C)", again = "Retransmissions(C)",
  lost = "FailedCall(C)",
}

local function fields(line)
  local list = {}
  for field in string.gmatch(line, "([^;]*);") do
    list[#list + 1] = field
  end
  return list
end

-- The time in "date <tab> time <tab> seconds since 1970".
local function time(text)
  return tonumber(string.match(text or "", "([%d.]+)$") or "")
end

-- The statistics of sipp (-trace_stat -fd 1): for each line { from =, to =, made =, answered =,
-- ... }, of what was counted since the line before; `from` and `to` are seconds since 1970.
-- `began` of the list is when sipp did. A line that is not all there yet is none.
function seconds.parse(text)
  local rows, head, before, width = {}, nil, {}, 0
  for line in string.gmatch(text, "([^\n]+)\n") do
    local values = fields(line)
    if not head then
      head, width = {}, #values
      for i, name in ipairs(values) do
        head[name] = i
      end
    elseif #values == width then
      rows.began = rows.began or time(values[head.StartTime])
      local row = { from = before.to or rows.began, to = time(values[head.CurrentTime]) }
      for key, column in pairs(columns) do
        local value = tonumber(values[head[column]]) or 0
        row[key], before[key] = value - (before[key] or 0), value
      end
      before.to = row.to
      rows[#rows + 1] = row
    end
  end
  return rows
end

function seconds.sum(rows, key)
  local total = 0
  for _, row in ipairs(rows) do
    total = total + row[key]
  end
  return total
end

-- The lines that are wholly within so many seconds of sipp's start.
function seconds.within(rows, from, to)
  local list = {}
  for _, row in ipairs(rows) do
    if row.from >= rows.began + from and row.to <= rows.began + to then
      list[#list + 1] = row
    end
  end
  return list
end

-- The number of the last line in which a call was refused or lost, 0 when there is none.
function seconds.well_after(rows)
  local last = 0
  for i, row in ipairs(rows) do
    if row.refused + row.failed + row.lost > 0 then
      last = i
    end
  end
  return last
end

-- The value of a counter at a time, as if it had grown evenly between two readings.
local function value_at(samples, key, at)
  local before = samples[1]
  for _, sample in ipairs(samples) do
    if sample.at > at then
      local part = (at - before.at) / (sample.at - before.at)
      return sample == before and sample[key]
        or before[key] + part * (sample[key] - before[key])
    end
    before = sample
  end
  return before[key]
end

-- By how much counters grew from one time to another. `samples` are readings of them in order:
-- { at =, NAME = value, ... }. Before the first and after the last nothing grows.
function seconds.between(samples, from, to)
  local grown = {}
  for key in pairs(samples[1]) do
    if key ~= "at" then
      grown[key] = value_at(samples, key, to) - value_at(samples, key, from)
    end
  end
  return grown
end

return seconds
