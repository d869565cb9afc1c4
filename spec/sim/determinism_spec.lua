-- One seed, one run: in another process, in another second, at other addresses.
local command = "exec lua5.4 spec/support/sim_scenario.lua "

-- Not through support.sh: the module needs the sanitiser this process has.
local function start(text)
  local pipe = io.popen(text .. " 2>&1")
  return function()
    local output = pipe:read "a"
    pipe:close()
    return output
  end
end

describe("a simulation", function()
  it("is the same run in two processes, second for second", function()
    local first, second = start(command .. 42), start("sleep 1.1; " .. command .. 42)
    local hash = first()
    assert.matches("^%x+\n$", hash)
    assert.equal(16, #hash - 1)
    assert.equal(hash, second())
  end)

  -- What is referenced is a matter of the script and not of when garbage goes.
  it("is the same run when all garbage is collected all the time", function()
    local usual, eager = start(command .. 7), start(command:gsub("^exec", "TANDEM_GC=1 %0") .. 7)
    local hash = usual()
    assert.matches("^%x+\n$", hash)
    assert.equal(hash, eager())
  end)

  it("is another run with another seed", function()
    local first, second = start(command .. 1), start(command .. 2)
    assert.not_equal(first(), second())
  end)
end)
