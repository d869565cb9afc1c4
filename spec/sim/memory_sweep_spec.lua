-- Memory runs out everywhere. A sample of the places each time; `make sweep` takes all of
-- them, and says how many there were.
local sweep = require "support.sweep"
local assert, describe, io, ipairs, it, os, pcall, select =
  assert, describe, io, ipairs, it, os, pcall, select

local _ENV = nil

local some = 3
local is_whole = os.getenv "SWEEP" == "all"

local function say(...)
  if is_whole then
    io.stdout:write("\n", (...):format(select(2, ...)))
    io.stdout:flush()
  end
end

describe("without memory", function()
  local total = 0

  for _, scenario in ipairs(sweep.scenarios) do
    for _, way in ipairs(sweep.ways) do
      it(scenario.name .. ": " .. way.name, function()
        local n, runs = sweep.run(scenario, way.which, 0, way.row), 0
        for at in sweep.places(n, some) do
          local ok, why = pcall(sweep.run, scenario, way.which, at, way.row)
          assert(ok, ("allocation %d of %d: %s"):format(at, n, why))
          runs = runs + 1
        end
        assert(runs > 0)
        total = total + runs
        say("%-50s %-45s %6d allocations, %6d runs", scenario.name, way.name, n, runs)
      end)
    end
  end

  if is_whole then
    it("all of it is that many runs", function()
      say("%d scenarios, %d runs", #sweep.scenarios, total)
    end)
  end
end)
