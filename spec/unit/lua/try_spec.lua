-- One attempt: its limits, its outcome, and the accounts of the server.
local fake = require "support.fake_core"
local pbx = require "support.pbx"

describe("req:try", function()
  local world, pool, a, req

  local function setup(options)
    world, pool = pbx.new({ "a", "b" }, options or { check = false })
    a = pool:server "a"
    req = world:request()
  end

  before_each(function()
    setup()
  end)

  after_each(function()
    assert.same({}, world.errors)
    assert.equal(0, a.inflight)
  end)

  local function try(target, opts)
    return world:call(function()
      return req:try(target, opts)
    end)
  end

  local function limits()
    local opts = req.attempts[#req.attempts].opts
    return { opts.timeout, opts.retransmits or "-", opts.progress_timeout, opts.ring_timeout }
  end

  it("has limits by default", function()
    local res = try(a)
    assert.equal(200, res.code)
    assert.equal(a, res.server)
    assert.same({ 4, "-", 12, 185 }, limits())
  end)

  it("takes other limits, literally", function()
    try(a, { timeout = 0.5, progress_timeout = 7, ring_timeout = 100 })
    assert.same({ 0.5, "-", 7, 100 }, limits())
  end)

  it("takes a number of retransmissions in place of a timeout", function()
    try(a, { retransmits = 2 })
    local opts = req.attempts[1].opts
    assert.same({ 2 }, { opts.retransmits, opts.timeout })
  end)

  it("refuses both", function()
    assert.equal("route.lua:14: req:try: timeout and retransmits exclude each other",
      fake.message(try, a, { timeout = 1, retransmits = 2 }))
  end)

  it("lets the pool say how its servers are tried, and the call overrule that", function()
    setup { check = false, attempt = { retransmits = 3, progress_timeout = 5 } }
    a = pool:server "a"
    try(a)
    local opts = req.attempts[1].opts
    assert.same({ 3, 5 }, { opts.retransmits, opts.progress_timeout })
    assert.is_nil(opts.timeout)
    try(a, { timeout = 1 })
    assert.same({ 1, "-", 5, 185 }, limits())
  end)

  it("tells a mistake each time, also beside what was right before", function()
    local wrong = {
      { { timeout = 2, tiemout = 1 }, "unknown option 'tiemout'; did you mean 'timeout'?" },
      { { timeout = "2" }, "timeout: a number of seconds expected, got string" },
      { { timeout = 0 }, "timeout: more than 0 expected, got 0" },
      { { timeout = false }, "timeout: a number of seconds expected, got boolean" },
      { { timeout = math.huge }, "timeout: a number of seconds expected, got inf" },
      { { [2] = "timeout" }, "unknown option '[2]'" },
      { 2, "a table of options expected, got number" },
    }
    for _ = 1, 2 do
      try(a)
      try(a, { timeout = 2 })
      for _, item in ipairs(wrong) do
        assert.equal("route.lua:14: req:try: " .. item[2], fake.message(try, a, item[1]))
      end
    end
  end)

  it("has limits of each pool, and of what is in none", function()
    setup { check = false, attempt = { progress_timeout = 5 } }
    for _ = 1, 2 do
      try(a, { timeout = 1 })
      assert.same({ 1, "-", 5, 185 }, limits())
      try("sip:bob@10.0.0.9", { timeout = 1 })
      assert.same({ 1, "-", 12, 185 }, limits())
      try(a)
      assert.same({ 4, "-", 5, 185 }, limits())
    end
  end)

  it("has limits of as many timeouts as a script thinks of", function()
    for _ = 1, 2 do
      for i = 1, 300 do
        try(a, { timeout = i / 2 })
        assert.same({ i / 2, "-", 12, 185 }, limits())
      end
    end
  end)

  it("passes on what the core found out", function()
    world:server("pbx/a", "INVITE", "refuse")
    local res, err, detail = try(a)
    assert.is_nil(res)
    assert.equal("transport", err)
    assert.equal("refused", detail.cause)
    world:server("pbx/a", "INVITE", "silent")
    assert.equal("timeout", select(2, try(a, { timeout = 2 })))
  end)

  it("hands on_response to the core", function()
    local function on_response() end
    try(a, { on_response = on_response })
    assert.equal(on_response, req.attempts[1].opts.on_response)
  end)

  it("takes a URI, and an item of res.contacts", function()
    assert.equal(200, try("sip:bob@192.0.2.1").code)
    assert.same({ { uri = "sip:bob@192.0.2.1" } }, req.attempts[1].targets)
    try { uri = "sip:bob@192.0.2.2", path = "<sip:p@192.0.2.3;lr>" }
    assert.same({ { uri = "sip:bob@192.0.2.2", route = "<sip:p@192.0.2.3;lr>" } },
      req.attempts[2].targets)
  end)

  it("refuses what is no target", function()
    assert.equal("route.lua:14: req:try: 'bob' is no SIP URI: no sip: or sips: in front",
      fake.message(try, "bob"))
    assert.equal("route.lua:14: req:try: a server or a SIP URI expected, got nil",
      fake.message(try))
    assert.equal("route.lua:14: req:try: a server or a SIP URI expected, got table",
      fake.message(try, pool))
    assert.equal("route.lua:14: req:try: unknown option 'timout'; did you mean 'timeout'?",
      fake.message(try, a, { timout = 1 }))
    assert.equal("route.lua:14: req:try: timeout: more than 0 expected, got 0",
      fake.message(try, a, { timeout = 0 }))
  end)

  it("counts what is in flight", function()
    world:server("pbx/a", "INVITE", { code = 200, after = 2 })
    local task = world:task(function()
      req:try(a)
    end)
    world:run(1)
    assert.equal(1, a.inflight)
    world:run(2)
    assert.is_true(task.done)
    assert.equal(0, a.inflight)
  end)

  it("counts out what raised", function()
    world.core.Request._try = function() error "oops" end
    assert.error_matches(function() try(a) end, "oops")
    assert.equal(0, a.inflight)
  end)

  it("remembers who challenged, for a minute, by the key", function()
    for code, remembered in pairs { [401] = true, [407] = true, [403] = false, [200] = false } do
      setup()
      world:server("pbx/b", "INVITE", code)
      try(pool:server "b")
      assert.same(remembered and { "b", "a" } or { "a", "b" }, pbx.order(pool, req), code)
    end
    setup()
    world:server("pbx/b", "INVITE", 401)
    try(pool:server "b", { key = "alice" })
    assert.same({ "a", "b" }, pbx.order(pool, req))
    assert.same({ "b", "a" }, pbx.order(pool, req, { key = "alice" }))
    world:run(60)
    assert.same({ "a", "b" }, pbx.order(pool, req, { key = "alice" }))
  end)

  it("credits a late answer to who gave it", function()
    setup { check = false, passive = { fall = 2 } }
    world:server("pbx/a", "INVITE", "refuse")
    world:server("pbx/b", "INVITE", "refuse")
    try(a)
    try(pool:server "b")
    -- the 2xx of a arrives while b is being tried
    world:server("pbx/b", "INVITE", { code = 200, from = "pbx/a" })
    assert.equal(a, try(pool:server "b").server)
    try(a)
    assert.equal("up", a.status)
    world:server("pbx/b", "INVITE", "refuse")
    try(pool:server "b")
    assert.equal("held", pool:server("b").status)
  end)

  it("measures the latency of what no person answers", function()
    world:server("pbx/a", "*", { code = 200, after = 0.5 })
    try(a)
    assert.is_nil(a.latency)
    req = world:request { method = "REGISTER" }
    try(a)
    assert.near(0.5, a.latency, 0.001)
    world:server("pbx/a", "*", { code = 200, after = 1.3 })
    try(a)
    assert.near(0.6, a.latency, 0.001)
  end)

  it("tells of failed branches", function()
    local heard = {}
    world, pool = pbx.new({ "a" }, { check = false }, {
      before = function(sip)
        sip.on("branch.failed", function(event)
          heard[#heard + 1] = event
        end)
      end,
    })
    a, req = pool:server "a", world:request()
    world:server("pbx/a", "INVITE", "refuse")
    try(a)
    world:server("pbx/a", "INVITE", 503)
    try(a)
    world:run(0)
    assert.equal(1, #heard)
    assert.same({ "pbx", "a", "transport", "refused", "INVITE", "call-1" }, {
      heard[1].pool.name, heard[1].server.name, heard[1].reason, heard[1].cause,
      heard[1].method, heard[1].call_id,
    })
  end)
end)
