-- What a running Tandem says of itself: its metrics, asked for at its control socket.
local sh = require "support.sh"
local error, ipairs, math, string, table = error, ipairs, math, string, table
local tonumber = tonumber

local _ENV = nil

local metrics = {}

-- The lines of the exposition format: { { name =, labels = text, value = } }
function metrics.parse(lines)
  local list = {}
  for _, line in ipairs(lines) do
    local name, labels, value = string.match(line, "^([%w_:]+)({?.-}?) (%S+)$")
    if name then
      list[#list + 1] = { name = name, labels = labels, value = tonumber(value) or math.huge }
    end
  end
  return list
end

function metrics.read(socket)
  local lines, why = sh.lines("build/tandem ctl -s " .. sh.quote(socket) .. " metrics")
  return lines and metrics.parse(lines) or error(why, 0)
end

-- The sum of all values with this name, of all labels or those in which `pattern` is.
function metrics.sum(list, name, pattern)
  local sum = 0
  for _, m in ipairs(list) do
    if m.name == name and (not pattern or string.find(m.labels, pattern)) then
      sum = sum + m.value
    end
  end
  return sum
end

-- What a histogram has counted between two readings: { n =, sum =, buckets = { { at_most =,
-- n = }, ... } }, those of all labels together, n counting what is below as well.
function metrics.histogram(before, after, name)
  local counts, bounds = {}, {}
  for sign, list in ipairs { before, after } do
    for _, m in ipairs(list) do
      local bound = m.name == name .. "_bucket" and string.match(m.labels, 'le="([^"]*)"')
      if bound then
        bound = tonumber(bound) or math.huge
        bounds[#bounds + 1] = not counts[bound] and bound or nil
        counts[bound] = (counts[bound] or 0) + (sign == 1 and -m.value or m.value)
      end
    end
  end
  table.sort(bounds)
  local h = { n = counts[math.huge] or 0, buckets = {},
    sum = metrics.sum(after, name .. "_sum") - metrics.sum(before, name .. "_sum") }
  for i, bound in ipairs(bounds) do
    h.buckets[i] = { at_most = bound, n = counts[bound] }
  end
  return h
end

-- The least bound below which this share (0 to 1) of a histogram is; nil when it is empty.
function metrics.below(h, share)
  for _, b in ipairs(h.n > 0 and h.buckets or {}) do
    if b.n >= share * h.n then
      return b.at_most
    end
  end
  return nil
end

return metrics
