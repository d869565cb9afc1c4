-- make ha: what it costs when a machine of a pair fails, with real kernels' networks,
-- keepalived and sipp. Every fault of spec/ha/faults.lua, for both layouts and two advert
-- intervals, under 100 calls per second; the table goes to build/ha.txt and build/ha.json.
--
--   LAYOUTS="active-standby two-vips"  ADVERTS="0.1 1"  RATE=100  HOLD=20
--   FAULTS="kill restart cut drain stop keepalived split"
local cjson = require "cjson"
local account = require "ha.account"
local faults = require "ha.faults"
local process = require "support.process"
local report = require "ha.report"
local world = require "ha.world"

local function words(name, default)
  local list = {}
  for word in (os.getenv(name) or default):gmatch "%S+" do
    list[#list + 1] = word
  end
  return list
end

local rate = tonumber(os.getenv "RATE" or 100)
local hold = tonumber(os.getenv "HOLD" or 20)
local ring = 2
local chosen = words("FAULTS", table.concat(faults.order, " "))
local table_rows = {}

local function write(name, text)
  local file = assert(io.open("build/" .. name, "w"))
  file:write(text)
  file:close()
end

-- Everything that went wrong, in words.
local function complaints(w, rows, calls)
  local list = {}
  for _, row in ipairs(rows) do
    if row.verdict ~= "ok" then
      list[#list + 1] = row.what .. ": " .. row.verdict
    end
    for _, bad in ipairs { row.lost, row.misled } do
      for i = 1, math.min(#bad, 5) do
        list[#list + 1] = "  " .. report.story(bad[i], row.at)
      end
    end
  end
  local lost = 0
  for _, call in ipairs(calls) do
    lost = lost + (account.loss(call) and 1 or 0)
  end
  -- The callers and the servers must have counted what the observer saw.
  local well, failed = world.told(w.callers)
  local counts = world.counts()
  if well + failed ~= #calls or failed ~= lost then
    list[#list + 1] = ("callers: %d well, %d failed; observer: %d calls, %d lost"):format(well,
      failed, #calls, lost)
  end
  if counts.merged ~= 0 or counts.open > lost or counts.unacked > lost then
    list[#list + 1] = ("servers: %d merged, %d still open, %d finals without ACK"):format(
      counts.merged, counts.open, counts.unacked)
  end
  return table.concat(list, "\n")
end

describe("a pair of machines under load,", function()
  local began

  before_each(function()
    began = world.now()
  end)

  after_each(process.clean)

  local function say(text, ...)
    io.write(("%6.1f s  "):format(world.now() - began), text:format(...), "\n")
    io.flush()
  end

  teardown(function()
    if #table_rows > 0 then
      write("ha.txt", report.text(table_rows))
      write("ha.json", cjson.encode(report.data(table_rows)) .. "\n")
      io.write("\n", report.text(table_rows))
    end
  end)

  -- What came of it, into the table.
  local function account_for(w, marks)
    local calls, senders = w:read()
    say("%d calls have ended", #calls)
    local rows = report.rows(w, marks, calls, senders)
    table.move(rows, 1, #rows, #table_rows + 1, table_rows)
    local wrong = complaints(w, rows, calls)
    io.write(report.text(rows), wrong, "\n")
    assert.equal("", wrong)
    return rows
  end

  it("but one of them alone, with no key but the one it made itself", function()
    local w, why = world.open { layout = "single", limit = 120, binary = "build/tandem",
      edit = function(script) return (script:gsub("\n *key_file[^\n]*", "")) end }
    if not w then
      return pending(why)
    end
    io.write "\none machine, default settings, 100 calls up\n"
    w:start_servers(0)
    w:start_single "sip1"
    w:start_observers()
    w:start_load { rate = 125, hold = 25 }
    assert(process.eventually(20, function() return (world.counts().open or 0) >= 100 end))
    local marks
    w:stop_load(function()
      process.sleep(3)
      marks = faults.single(w, say)
    end)
    local rows = account_for(w, marks)
    for _, row in ipairs(rows) do
      assert(row.up >= 100, row.up)
    end
  end)

  for _, layout in ipairs(words("LAYOUTS", "active-standby two-vips")) do
    for _, advert in ipairs(words("ADVERTS", "0.1 1")) do
      it(("%s, an advert every %s s"):format(layout, advert), function()
        local w, why = world.open { layout = layout, advert = tonumber(advert), limit = 420,
          binary = "build/tandem" }
        if not w then
          return pending(why)
        end
        io.write(("\n%s, an advert every %s s, %g calls per second\n"):format(layout, advert, rate))
        w:start_servers(ring)
        w:start_machines()
        w:start_observers()
        w:start_load { rate = rate, hold = hold }
        say("calls begin")
        process.sleep(hold + ring + 2)
        local marks = faults.run(w, chosen, say)
        say("no more calls")
        w:stop_load()
        account_for(w, marks)
      end)
    end
  end
end)
