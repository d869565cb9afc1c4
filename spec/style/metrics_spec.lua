-- docs/reference/metrics.md says what there is, and nothing else: compared with the
-- catalog of the page, and that with the counters of the sources. What a running proxy
-- shows is compared with the catalog in spec/sim/metrics_spec.lua.
local catalog = require "tandem.control.catalog"
local sh = require "support.sh"
local tree = require "support.tree"

local page = "docs/reference/metrics.md"

-- Rows of the tables: { name, type, labels, meaning }.
local rows = {}
for _, line in ipairs(tree.lines(page)) do
  local name, kind, labels, meaning =
    line:match "^| `([%w_]+)` | (%l+) | ([^|]*)| ?(.*)|$"
  if name then
    assert(not rows[name], name .. " is there twice")
    rows[#rows + 1] = { name = name, type = kind, labels = {}, text = meaning }
    rows[name] = rows[#rows]
    for label in labels:gmatch "`([%l_]+)`" do
      table.insert(rows[name].labels, label)
    end
  end
end

-- What the sources count: metric -> label -> value -> true.
local counted = {}
do
  local text = tree.read "src/util/counters.h":gsub("\\\n", " "):gsub('"%s+"', "")
  local types = {}
  for kind in text:gmatch "DNS_COUNTERS%(X, %u+, \"(%l+)\"%)" do
    types[#types + 1] = kind
  end
  local function note(metric, labels)
    counted[metric] = counted[metric] or {}
    for label, value in labels:gmatch "([%l_]+)=([%w_]+)" do
      counted[metric][label] = counted[metric][label] or {}
      counted[metric][label][value] = true
    end
  end
  for metric, labels in text:gmatch 'X%([%w_#]+,%s*"([%l%d_]+)",%s*(.-)%)' do
    labels = labels:gsub('"%s*type%s*"', types[1]) -- of the macro for DNS
    note(metric, labels)
  end
  for labels in text:gmatch 'MESSAGE_COUNTERS%(X, [%u_]+, "([%l=,]+)"%)' do
    note("tandem_messages_total", labels)
  end
  for _, kind in ipairs(types) do
    note("tandem_dns_lookups_total", "type=" .. kind)
  end
end

local function names(list)
  local found = {}
  for i, entry in ipairs(list) do
    found[i] = entry.name
  end
  table.sort(found)
  return found
end

local function words(text)
  local found = {}
  for code in text:gmatch "`([^`]+)`" do
    for word in code:gmatch "[%w_]+" do
      found[word] = true
    end
  end
  return found
end

describe("the reference of metrics", function()
  it("has all of the catalog, and no others", function()
    assert.is_true(#rows > 70)
    assert.same(names(catalog.list), names(rows))
  end)

  it("has their types and labels", function()
    for _, entry in ipairs(catalog.list) do
      local row = rows[entry.name]
      assert.same({ entry.name, entry.type, entry.labels }, { row.name, row.type, row.labels })
    end
  end)

  it("says what the values of labels mean", function()
    local wrong, seen = {}, 0
    for metric, labels in pairs(counted) do
      local known = words(rows[metric] and rows[metric].text or "")
      for label, values in pairs(labels) do
        for value in pairs(values) do
          seen = seen + 1
          if not known[value] then
            wrong[#wrong + 1] = ("%s{%s=%q}"):format(metric, label, value)
          end
        end
      end
    end
    table.sort(wrong)
    assert.equal("", tree.report(wrong))
    assert.is_true(seen > 80, seen)
  end)
end)

describe("the catalog of metrics", function()
  it("has all that the sources count, with its labels", function()
    local wrong, seen = {}, 0
    for metric, labels in pairs(counted) do
      local entry = catalog.by_name[metric]
      local known = {}
      for _, label in ipairs(entry and entry.labels or {}) do
        known[label] = true
      end
      for label in pairs(labels) do
        wrong[#wrong + 1] = not known[label] and metric .. " has no label " .. label or nil
      end
      wrong[#wrong + 1] = not entry and metric .. " is missing" or nil
      seen = seen + 1
    end
    assert.equal("", tree.report(wrong))
    assert.is_true(seen > 35, seen)
  end)

  it("has names as Prometheus wants them", function()
    for _, entry in ipairs(catalog.list) do
      local is_total = entry.name:find "_total$" ~= nil
      assert.same({ entry.name, entry.type == "counter" }, { entry.name, is_total })
      assert.matches("^[%l]+_[%l%d_]+$", entry.name)
      assert.matches("%.$", entry.help)
      assert.is_nil(entry.name:find "_m?illi" or entry.name:find "_ms$")
    end
  end)

  it("has no label that callers could fill", function()
    local allowed = {}
    for label in ([[version lua worker hook reason transport direction kind method code action
      role pool server status outcome result to type cause]]):gmatch "%S+" do
      allowed[label] = true
    end
    for _, entry in ipairs(catalog.list) do
      for _, label in ipairs(entry.labels) do
        assert(allowed[label], entry.name .. ": " .. label)
      end
    end
  end)
end)

-- Rules that ask for what is not there never fire.
describe("the alerting rules", function()
  local file = "docs/prometheus/alerts.yml"

  it("ask for metrics that there are, and for labels that these have", function()
    local text, seen = tree.read(file):gsub("#[^\n]*", ""), 0
    for expr in text:gmatch "expr: (.-)\n%s+[%l]+:" do
      for name, selector in expr:gmatch "%f[%w_]([%l]+_[%l%d_]+)(%b{})" do
        local entry = catalog.by_name[(name:gsub("_bucket$", ""))]
        for label in selector:gmatch "([%l_]+)[=!]" do
          local known = "le job " .. table.concat(entry.labels, " ")
          assert(known:find(label, 1, true), name .. ": " .. label)
        end
      end
      for name in expr:gmatch "%f[%w_](tandem_[%l%d_]+)" do
        local plain = name:gsub("_bucket$", "")
        assert(catalog.by_name[name] or catalog.by_name[plain], name)
        seen = seen + 1
      end
      for name in expr:gmatch "%f[%w_](process_[%l%d_]+)" do
        assert(catalog.by_name[name], name)
      end
    end
    assert.is_true(seen > 15, seen)
  end)

  it("are rules to Prometheus", function()
    local ok, output = sh.run("promtool check rules " .. file)
    assert(ok, output)
  end)

  -- Slow ones are tested over minutes of invented numbers.
  it("fire when they should, and are quiet when all is well", function()
    local ok, output = sh.run "promtool test rules docs/prometheus/alerts_test.yml"
    assert(ok, output)
    local tests = tree.read "docs/prometheus/alerts_test.yml"
    for name in tree.read(file):gmatch "%- alert: (%w+)" do
      assert(tests:find("  - name: " .. name .. "\n", 1, true), name .. " is not tested")
      assert(tests:find("  - name: " .. name .. " is quiet\n", 1, true), name .. " when quiet")
    end
  end)

  it("each say what happened and what to do", function()
    local text, alerts = tree.read(file), 0
    for rule in (text .. "\n      - alert:"):gmatch "%- alert: (.-)\n%s+%f[%-]" do
      alerts = alerts + 1
      for _, part in ipairs { "severity:", "summary:", "description:" } do
        assert(rule:find(part, 1, true), rule:match "^%w+" .. " has no " .. part)
      end
    end
    local _, declared = text:gsub("%- alert:", "")
    assert.equal(declared, alerts)
    assert.is_true(alerts > 12, alerts)
  end)
end)
