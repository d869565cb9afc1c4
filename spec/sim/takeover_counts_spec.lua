-- What nodes count of a call (semantics 25) that one of them began and the other one ends:
-- each counts what it sees from its beginning, and never less than nothing.
local sim = require "support.sim"
local takeover = require "support.takeover"
local ipairs = ipairs

local uri = takeover.uri

sim.for_workers("calls that two nodes saw", function(workers)
  after_each(sim.finish)

  local w

  local function open(opts)
    opts = opts or {}
    opts.workers = workers
    opts.pool = (opts.pool and opts.pool .. ", " or "") .. "max_duration = 3600"
    w = takeover.open(opts)
  end

  local function counted(node, name)
    return node.pools.pbx[name or "a"].calls
  end

  -- Time passes, and no count is ever below 0.
  local function watch(seconds)
    local loads = {}
    w.net:run_until(function()
      for _, node in ipairs { w.one, w.two } do
        if node.workers > 0 then
          for _, n in ipairs(w.net.world:loads(node.id, loads)) do
            assert(n >= 0, n)
          end
        end
      end
    end, seconds, 0.005)
  end

  it("the node that sees only the BYE counts nothing", function()
    open()
    local calls = {}
    for i = 1, 4 do
      calls[i] = w.alice:call(uri)
    end
    w.net:run(0.1)
    assert.equal(4, counted(w.one))
    w:die()
    assert.equal(0, counted(w.two))
    for i, call in ipairs(calls) do
      local who = i % 2 == 0 and w.alice or w.a
      who:bye(call)
      watch(0.1)
    end
    assert.equal(0, counted(w.two))
    assert.equal(0, w.two.pools.pbx.a.inflight)
    assert.equal(0, w.two.pools.pbx.a.setup)
  end)

  it("and nothing for BYEs that are repeated, cross, or come to nobody", function()
    open()
    local call = w.alice:call(uri)
    w.net:run(0.1)
    w:die()
    local bye = w.alice:bye(call)
    w.a:bye(call)
    watch(0.5)
    w.alice:send(bye.tx.bytes, w.vip)
    watch(0.5)
    w.a:crash()
    w.a:resume()
    w.alice:in_dialog(call, "BYE")
    watch(5)
    assert.equal(0, counted(w.two))
  end)

  it("a call whose 2xx the second node relays is one of its calls, to its BYE", function()
    open()
    w.a:ring(1)
    local call = w.alice:invite(uri)
    w.net:run(0.5)
    w:die()
    watch(1)
    assert.equal(200, call.code)
    assert.equal(1, counted(w.two))
    w.alice:bye(call)
    watch(1)
    assert.equal(0, counted(w.two))
  end)

  it("its re-INVITE makes it none of them", function()
    open()
    local call = w.alice:call(uri)
    w.net:run(0.1)
    w:die()
    w.alice:reinvite(call):wait()
    watch(0.2)
    assert.equal(0, counted(w.two))
    w.alice:reinvite(call):wait()
    watch(0.2)
    assert.equal(0, counted(w.two))
    w.a:bye(call)
    watch(1)
    assert.equal(0, counted(w.two))
  end)

  it("who comes back without its memory counts the calls it lost no more", function()
    open()
    local first = w.alice:call(uri)
    w.net:run(0.1)
    w:die()
    local second = w.alice:call(uri)
    w.net:run(0.1)
    assert.equal(1, counted(w.two))
    w:fail_back()
    assert.equal(0, counted(w.one))
    w.alice:bye(first)
    w.alice:bye(second)
    watch(1)
    assert.equal(0, counted(w.one))
    -- The second never hears that its call has ended; max_duration ends it there.
    assert.equal(1, counted(w.two))
    w.net:run(3700)
    assert.equal(0, counted(w.two))
  end)

  it("who keeps its memory on disk counts them, and their ends", function()
    open { before = 'sip.settings { state_dir = "/var/lib/tandem" }' }
    local calls = {}
    for i = 1, 3 do
      calls[i] = w.alice:call(uri)
    end
    w.net:run(2)
    w:die()
    w.alice:bye(calls[1]) -- which the first one cannot see
    watch(1)
    w:fail_back()
    assert.equal(3, counted(w.one))
    w.alice:bye(calls[2])
    w.a:bye(calls[3])
    watch(1)
    assert.equal(1, counted(w.one))
    w.net:run(3700)
    assert.equal(0, counted(w.one))
  end)

  it("in a split brain each counts every call that it sees, and its end", function()
    open()
    w.net:split(w.vip, { w.one, w.two })
    local calls = {}
    for i = 1, 6 do
      calls[i] = w.alice:invite(uri)
      watch(0.1)
    end
    assert.equal(6, counted(w.one))
    assert.equal(6, counted(w.two))
    for i, call in ipairs(calls) do
      local who = i % 2 == 0 and w.alice or w.a
      who:bye(call)
      watch(0.1)
    end
    assert.equal(0, counted(w.one))
    assert.equal(0, counted(w.two))
  end)

  it("a limit of calls is the node's own, and is not eaten up by what it relays", function()
    open { policy = "relay", pool = "record_route = true", server = "max_calls = 2" }
    w.a:ring(1)
    w.b:ring(1)
    local calls = {}
    for i = 1, 4 do
      calls[i] = w.alice:invite(uri)
    end
    w.net:run(0.5)
    w:die()
    watch(2)
    for _, call in ipairs(calls) do
      assert.equal(200, call.code)
      w.alice:bye(call)
    end
    watch(1)
    for i = 1, 4 do
      calls[i] = w.alice:invite(uri)
    end
    watch(2)
    for _, call in ipairs(calls) do
      assert.equal(200, call.code)
      w.alice:bye(call)
    end
    watch(1)
    assert.equal(0, counted(w.two) + counted(w.two, "b"))
  end)
end)
