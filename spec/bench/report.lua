-- The results for people: ratios first, then the figures, one row per peer and rate.
local ipairs, math, string, table = ipairs, math, string, table
local tostring = tostring

local _ENV = nil

local report = {}

-- A number with so many digits behind the point; "-" when there is none.
local function number(n, digits)
  return n and string.format("%." .. digits .. "f", n) or "-"
end

-- Rows of cells as text: the first columns to the left, numbers to the right.
local function columns(rows, left)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      widths[i] = math.max(widths[i] or 0, #cell)
    end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local fill = string.rep(" ", widths[i] - #cell)
      cells[i] = (i <= left or i == #row) and cell .. fill or fill .. cell
    end
    lines[#lines + 1] = (string.gsub("  " .. table.concat(cells, "  "), "%s+$", ""))
  end
  return lines
end

local function rate(row)
  return row.at == "max" and string.format("max %d", row.rate) or tostring(row.rate)
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
    for _, rows in ipairs(by_rate(results.sections[name])) do
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

local function ratio_lines(results)
  local rows = { { "section", "per second", "cpu/kamailio", "cpu/relay", "rate/kamailio", "" } }
  for _, r in ipairs(results.ratios) do
    rows[#rows + 1] = { r.section, tostring(r.at), number(r.kamailio, 2), number(r.relay, 2),
      number(r.kamailio_rate, 2), "" }
  end
  return #rows > 1 and columns(rows, 1) or {}
end

local function figure_lines(results)
  local rows = { { "section", "peer", "per second", "us/call", "user", "system", "failed", "again",
    "routed p50", "p99", "all p50", "p99", "caller", "servers", "proxy", "limit" } }
  for _, name in ipairs(results.order) do
    for _, row in ipairs(results.sections[name]) do
      local share = row.share or {}
      rows[#rows + 1] = { name, row.peer, rate(row), number(row.cpu_us, 1),
        number(row.user_us, 1), number(row.system_us, 1), tostring(row.failed),
        tostring(row.repeated), number(row.delay_routed_p50, 0), number(row.delay_routed_p99, 0),
        number(row.delay_p50, 0), number(row.delay_p99, 0), number(share.caller, 2),
        number(share.servers, 2), number(share.proxy, 2), row.limit or "" }
    end
  end
  return #rows > 1 and columns(rows, 2) or {}
end

local function memory_lines(results)
  local rows = { { "memory", "peer", "number", "at first, MB", "then, MB", "bytes each",
    "failed", "" } }
  for _, r in ipairs(results.memory or {}) do
    rows[#rows + 1] = { r.what, r.peer, tostring(r.n), number(r.before / 2 ^ 20, 1),
      number(r.bytes / 2 ^ 20, 1), number(r.each, 0), tostring(r.failed), "" }
  end
  return #rows > 1 and columns(rows, 2) or {}
end

local function machine_line(m)
  return string.format("%s, %d processors, Linux %s, load average %.2f at the start; "
    .. "Tandem %s, %s, sipp %s", m.cpu or "?", m.processors or 0, m.kernel or "?",
    m.load_average or 0, m.commit or "?", m.kamailio or "no Kamailio", m.sipp or "?")
end

-- All of it as lines.
function report.lines(results)
  local lines = {}
  local function add(more, title)
    if #more > 0 then
      lines[#lines + 1] = title
      table.move(more, 1, #more, #lines + 1, lines)
    end
  end
  local s = results.settings
  add(ratio_lines(results), "Tandem over the others:")
  add(figure_lines(results), string.format("medians of %d runs of %g s; delays in us; "
    .. "caller, servers, proxy: processors that they use", s.runs, s.seconds_per_run))
  add(memory_lines(results), "memory:")
  lines[#lines + 1] = machine_line(results.machine)
  return lines
end

return report
