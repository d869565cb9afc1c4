-- The results for people: ratios first, then the figures, one row per peer and rate.
local columns = require "bench.columns"
local tables = require "bench.tables"
local workload = require "bench.workload"
local ipairs, string, table = ipairs, string, table

local _ENV = nil

local report = {}

-- Rows of cells as a table of Markdown.
local function markdown(rows, is_left)
  local lines = {}
  for i, row in ipairs(rows) do
    lines[#lines + 1] = "| " .. table.concat(row, " | ") .. " |"
    if i == 1 then
      local rule = {}
      for k in ipairs(row) do
        rule[k] = is_left[k] and "---" or "---:"
      end
      lines[2] = "|" .. table.concat(rule, "|") .. "|"
    end
  end
  return lines
end

-- Rows of one section by rate, in order: { { at =, [peer] = row } }
local function by_rate(rows)
  local list, found = {}, {}
  for _, row in ipairs(rows) do
    if not found[row.at] then
      found[row.at] = { at = row.at }
      list[#list + 1] = found[row.at]
    end
    found[row.at][row.peer] = row
  end
  return list
end

local function quotient(rows, field, other)
  local a, b = rows.tandem and rows.tandem[field], rows[other] and rows[other][field]
  return a and b and b > 0 and a / b or nil
end

-- The ratios of all sections, as in results.json: { { section =, at =, kamailio =, relay = } };
-- of processor time, and of the rate where that is what was looked for.
function report.ratios(results)
  local list = {}
  for _, name in ipairs(results.order) do
    for _, rows in ipairs(workload.kinds[name] and by_rate(results.sections[name]) or {}) do
      local ratio = { section = name, at = rows.at }
      for _, other in ipairs { "kamailio", "relay" } do
        ratio[other] = quotient(rows, "cpu_us", other)
        if rows.at == "max" then
          ratio[other .. "_rate"] = quotient(rows, "rate", other)
        end
      end
      list[#list + 1] = ratio
    end
  end
  return list
end

local function number(n)
  return n and string.format("%.2f", n) or "-"
end

-- The ratios as cells.
local function ratio_cells(results)
  local rows = { { "section", "per second", "cpu/kamailio", "cpu/relay", "rate/kamailio" } }
  for _, r in ipairs(results.ratios) do
    local at = r.at == "max" and r.at or string.format("%.0f", r.at)
    rows[#rows + 1] = { r.section, at, number(r.kamailio), number(r.relay),
      number(r.kamailio_rate) }
  end
  return rows
end

local function machine_line(m)
  return string.format("%s, %d processors, Linux %s, load average %.2f at the start; "
    .. "Tandem %s, %s, sipp %s", m.cpu or "?", m.processors or 0, m.kernel or "?",
    m.load_average or 0, m.commit or "?", m.kamailio or "no Kamailio", m.sipp or "?")
end

-- Calls show(title, cells, is_left) for each table: ratios first, then what was measured.
local function each_table(results, show)
  if #results.ratios > 0 then
    show("Tandem over the others", ratio_cells(results), { true })
  end
  for _, name in ipairs(results.order) do
    local title, list = tables.of(name, workload.kinds[name] and workload.kinds[name].title)
    local is_left = {}
    for i, column in ipairs(list) do
      is_left[i] = column.is_text
    end
    show(name .. ": " .. title, tables.cells(list, results.sections[name]), is_left)
  end
end

-- All of it as lines.
function report.lines(results)
  local lines = {}
  each_table(results, function(title, cells, is_left)
    lines[#lines + 1] = title
    table.move(columns.lines(cells, is_left), 1, #cells, #lines + 1, lines)
  end)
  local s = results.settings
  lines[#lines + 1] = string.format("us/call: medians of %d runs of %g s; delays in us; caller, "
    .. "servers, proxy: processors that they use", s.runs, s.seconds_per_run)
  lines[#lines + 1] = machine_line(results.machine)
  return lines
end

-- The same for docs/explanation/benchmarks.md.
function report.markdown(results)
  local lines = { machine_line(results.machine) .. "; " .. (results.machine.date or "") .. ".", "" }
  each_table(results, function(title, cells, is_left)
    lines[#lines + 1] = "**" .. title .. "**"
    lines[#lines + 1] = ""
    table.move(markdown(cells, is_left), 1, #cells + 1, #lines + 1, lines)
    lines[#lines + 1] = ""
  end)
  lines[#lines] = nil
  return lines
end

return report
