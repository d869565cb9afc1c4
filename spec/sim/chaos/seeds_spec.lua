-- Some seeds of `make chaos`, and that a seed is one run: in another process, another
-- second, another folder, with other addresses in memory.
local run = require "support.chaos.run"

local seeds, calls = 16, 60

local function problems(result)
  local list = {}
  for i, violation in ipairs(result.violations) do
    list[i] = ("%s at %.6f s: %s\n%s"):format(violation.invariant, violation.time / 1e6,
      violation.text, violation.ladder)
  end
  return table.concat(list, "\n")
end

describe("chaos", function()
  for seed = 1, seeds do
    it("violates nothing, seed " .. seed, function()
      local result = run.seed(seed, { calls = calls })
      assert.equal("", problems(result))
      assert.is_true(result.calls > calls / 2)
      assert.is_true(result.notes > result.packets)
    end)
  end

  -- Not through support.sh: the module needs the sanitiser this process has.
  local function start(seed, before)
    local pipe = io.popen(("%s CALLS=60 CHUNK=1 LAST=%d lua5.4 %s %d"):format(before, seed,
      "spec/support/chaos/worker.lua", seed))
    return function()
      local output = pipe:read "a"
      pipe:close()
      return (output:match "\nend\t%d+\t[^\n]*\t(%x+)\t[^\t]*\t[^\t]*\n$")
    end
  end

  it("is the same in two processes, second for second", function()
    local first = start(5, "")
    local second = start(5, "sleep 1.1; LC_ALL=C TZ=Asia/Tokyo CHAOS_PADDING=" .. ("x"):rep(5000))
    local hash = first()
    assert.matches("^%x+$", hash)
    assert.equal(16, #hash)
    assert.equal(hash, second())
    assert.not_equal(hash, start(6, "")())
  end)
end)
