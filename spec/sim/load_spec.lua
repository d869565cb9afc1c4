-- What the core counts at a server: open attempts, calls being set up, calls begun
-- within a second, units of resources. Counted when an attempt begins and when it
-- ends, whatever ends it.
local sim = require "support.sim"
local policy = require "support.policy"

-- A script over the core's own functions: facts of two servers, and what to do with
-- a request. The worker of a call says in the log what it sees.
local frame = [[
local sip = require "tandem"
local core = require "tandem.core"
sip.listen { "udp:0.0.0.0:5060" }
sip.pool("pbx", { servers = { { name = "c", uri = "sip:10.0.0.3" } }, check = false })
local a = core.member("raw", "a", { addr = "10.0.0.1:5060", resources = { "pstn", "conf" } })
local b = core.member("raw", "b", { addr = "10.0.0.2:5060", resources = { "conf" } })
local function say()
  local out = {}
  core.loads({ a, b }, out)
  local form = "inflight %%d %%d setup %%d %%d load %%d %%d rate %%.0f %%.0f "
    .. "pstn %%d conf %%d %%d"
  sip.log.info(form:format(a:get "inflight", b:get "inflight", a:get "setup", b:get "setup",
    out[1], out[2], a:rate(), b:rate(), a:used "pstn", a:used "conf", b:used "conf"))
end
sip.route("OPTIONS", function(req) say() req:reply(200) end)
sip.route(function(req)
  %s
end)
]]

local both = [[
  local res = req:_try({ { facts = a }, { facts = b } },
    { timeout = 3, ring_timeout = 5, resources = { pstn = 1, conf = 2, fax = 3 } })
  if res then res:forward() else req:reply(500) end
]]

sim.for_workers("what a server has to do", function(workers)
  local net, a, b, alice, w

  local function start(handler)
    net = sim.new { source = frame:format(handler or both), workers = workers }
    a, b, alice = net:uas("10.0.0.1", "a"), net:uas("10.0.0.2", "b"), net:uac "192.0.2.7"
  end

  -- Both workers see the same numbers: asked until each has answered.
  local function seen()
    local lines = {}
    for _ = 1, 4 do
      alice:ask("OPTIONS", "sip:proxy@example.com")
    end
    for _, line in ipairs(policy.said(net)) do
      lines[#lines + 1] = line
    end
    for i = #lines - 2, #lines do
      assert.equal(lines[#lines], lines[i])
    end
    return lines[#lines]
  end

  after_each(sim.finish)

  local nothing = "inflight 0 0 setup 0 0 load 0 0 rate %d %d pstn 0 conf 0 0"
  local open = "inflight 1 1 setup 1 1 load 1 1 rate 1 1 pstn 1 conf 2 2"

  it("is nothing at first", function()
    start()
    assert.equal(nothing:format(0, 0), seen())
  end)

  it("counts an INVITE while it is open, and what it takes where there is such a thing", function()
    start()
    a:silence() b:silence()
    alice:invite "sip:bob@example.com"
    net:run(0.1)
    assert.equal(open, seen())
    net:run(5)
    assert.equal(nothing:format(0, 0), seen())
  end)

  it("gives it back when the server refuses", function()
    start()
    a:answer("INVITE", 486) b:answer("INVITE", 486)
    alice:call "sip:bob@example.com"
    assert.equal(nothing:format(1, 1), seen())
  end)

  it("gives it back when the server is not there", function()
    start()
    a:refuse() b:refuse()
    assert.equal(500, alice:call("sip:bob@example.com").code)
    assert.equal(nothing:format(1, 1), seen())
  end)

  it("gives it back when the caller hangs up, and again counts nothing late", function()
    start()
    a:on("INVITE", function(_, reply) reply(180) end)
    b:silence()
    local call = alice:invite "sip:bob@example.com"
    net:run(0.1)
    assert.equal(open, seen())
    alice:cancel(call)
    net:run(0.5)
    assert.equal(487, call.code)
    assert.equal(nothing:format(1, 1), seen())
  end)

  it("gives it back when it rang too long", function()
    start()
    a:on("INVITE", function(_, reply) reply(180) end)
    b:answer("INVITE", 486)
    alice:invite "sip:bob@example.com"
    net:run(4)
    assert.equal("inflight 1 0 setup 1 0 load 1 0 rate 0 0 pstn 1 conf 2 0", seen())
    net:run(3)
    assert.equal(nothing:format(0, 0), seen())
  end)

  it("counts other methods as in flight only", function()
    start()
    a:silence() b:silence()
    alice:request("MESSAGE", "sip:bob@example.com")
    net:run(0.1)
    assert.equal("inflight 1 1 setup 0 0 load 0 0 rate 0 0 pstn 0 conf 0 0", seen())
  end)

  it("counts nothing for what is inside a dialog", function()
    start()
    b:silence()
    alice:call "sip:bob@example.com"
    net:run(4)
    a:silence()
    alice:in_dialog(alice.calls[#alice.calls], "INFO")
    net:run(0.1)
    assert.truthy(seen():find("^inflight 0 0 setup 0 0 "))
  end)

  it("counts nothing when there is no memory to begin with", function()
    for n = 1, 40 do
      start()
      a:silence() b:silence()
      alice:invite "sip:bob@example.com"
      for worker = 1, workers do
        net.nodes[1]:fail_alloc(n, { worker = worker, row = 1000 })
      end
      net:run(0.05)
      for worker = 1, workers do
        net.nodes[1]:fail_alloc(0, { worker = worker })
      end
      net:run(40)
      assert.equal(nothing:format(0, 0), seen())
      net:finish { errors = net:count "lua.error" } -- the script may have had none either
    end
  end)

  it("gives back what was open when the proxy stops", function()
    start()
    a:silence() b:silence()
    alice:invite "sip:bob@example.com"
    net:run(0.1)
    net.nodes[1]:stop()
    net.nodes[1]:start()
    assert.equal(nothing:format(0, 0), seen())
  end)

  it("counts the target of a request that a server sent", function()
    start()
    w = net:uas("10.0.0.3", "c")
    a:silence()
    w:invite("sip:x@10.0.0.1", { proxy = net.proxy })
    net:run(0.1)
    assert.equal("inflight 1 0 setup 1 0 load 1 0 rate 1 0 pstn 0 conf 0 0", seen())
  end)

  it("refuses units that are no small numbers, and resources that are too many", function()
    local bad = both:gsub("pstn = 1", "pstn = 256")
    start(bad)
    assert.equal(500, alice:call("sip:bob@example.com").code)
    assert.truthy(policy.failure(net).error:find("numbers from 0 to 255", 1, true))
    net:finish { errors = 1 }
    local many = frame:format(both):gsub('"pstn", "conf"', "1, 2, 3, 4, 5, 6, 7, 8, 9", 1)
    assert.truthy(policy.load_error(many):find("more than 8 resources", 1, true))
  end)
end)
