-- An error of the script that happens at every call does not fill the log.
local sim = require "support.sim"
local why = require "support.why"
local wire = require "support.wire"

sim.for_workers("errors of a script in the log", function(workers)
  local net, alice

  -- Calls fail in this handler.
  local function start(handler)
    local _
    net, _, _, alice = wire.world { workers = workers, handler = handler }
  end

  local function calls(n, user)
    for _ = 1, n do
      local call = alice:request("OPTIONS", ("sip:%s@example.com"):format(user or "bob"))
      net:run(0.01)
      assert.equal(500, call.code)
    end
  end

  -- Of all workers: how many lines there are, and how many they have left out.
  local function told(match)
    local lines, suppressed = 0, 0
    for _, event in ipairs(net.events) do
      if event.event == "lua.error" and event.error:find(match, 1, true) then
        lines, suppressed = lines + 1, suppressed + (event.suppressed or 0)
      end
    end
    return lines, suppressed
  end

  it("are written in full at first, and then counted", function()
    start "error('bug ' .. req.call_id)"
    calls(100)
    local lines, suppressed = told "bug"
    assert.equal(5 * workers, lines)
    assert.equal(0, suppressed)
    assert.equal(100, net:metric "tandem_lua_errors_total")
    net:run(61)
    calls(30)
    lines, suppressed = told "bug"
    assert.equal(11 * workers, lines) -- one says how many there were, then the first again
    assert.equal(100 - 5 * workers, suppressed)
    net:finish { errors = 130 }
  end)

  it("do not hide those of another line", function()
    start [[
      if req.ruri.user == "bob" then error "first" end
      error "second"
    ]]
    calls(50)
    assert.equal(5 * workers, (told "first"))
    calls(1, "carol")
    assert.equal(1, (told "second"))
    net:finish { errors = 51 }
  end)

  it("are told of when no other one follows", function()
    start "if req.ruri.user == 'bob' then error 'bug' end return req:reply(500)"
    calls(50)
    net:run(61)
    calls(10 * workers, "carol") -- any message is an occasion
    local lines, suppressed = told "bug"
    assert.equal(6 * workers, lines)
    assert.equal(50 - 5 * workers, suppressed)
    net:finish { errors = 50 }
  end)

  it("are in the trace of each request, also when the log leaves them out", function()
    start "error 'bug'"
    local last
    for _ = 1, 20 * workers do
      last = alice:request("OPTIONS", "sip:bob@example.com")
      net:run(0.01)
    end
    net:run(1)
    local record = why.of(net, last.id)
    assert.is_true(record.failed)
    assert.matches("bug", why.steps(record, "error")[1].message)
    net:finish { errors = 20 * workers }
  end)
end)
