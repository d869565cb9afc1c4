-- What the decision trace says of each server in a choice, and by which rule.
local sim = require "support.sim"
local policy = require "support.policy"
local why = require "support.why"

local uri = "sip:bob@example.com"

local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
%s
local pbx = sip.pool("pbx", {
  servers = { %s }, check = %s, passive = %s, %s })
sip.route("SUBSCRIBE", function(req)
  local server = pbx:server(req.ruri.user)
  server[req:header "X-Order"](server, table.unpack({ %s }))
  req:reply(200)
end)
sip.route(function(req)
  %s
end)
]]

local two = [[{ name = "a", uri = "sip:10.0.0.1", tier = 1 %s },
  { name = "b", uri = "sip:10.0.0.2", tier = 2 %s }]]

sim.for_workers("the trace of a choice", function(workers)
  after_each(sim.finish)

  local w, net

  -- of_a, of_b: more options of the servers; or servers: all of them.
  local function open(opts)
    local source = frame:format(opts.before or "",
      opts.servers or two:format(opts.of_a or "", opts.of_b or ""), opts.check or "false",
      opts.passive or "{ fall = 1000 }", opts.pool or "", opts.order or "",
      opts.handler or "return req:relay(pbx)")
    w = policy.world { source = source, workers = workers, dns = opts.dns }
    net = w.net
  end

  local function order(name, what)
    w.alice:ask("SUBSCRIBE", ("sip:%s@example.com"):format(name),
      { headers = { ["X-Order"] = what } })
    net:run(0.5)
  end

  -- What is said of the servers in the first choice of a call from now on.
  local function verdicts(method)
    local call = w.alice:ask(method or "MESSAGE", uri)
    net:run(0.1)
    local list, choice = why.candidates(net, call.id)
    return list, choice, call
  end

  it("names who was chosen, and why the others come later", function()
    open { servers = [[
      { name = "a", uri = "sip:10.0.0.1", tier = 1 },
      { name = "b", uri = "sip:10.0.0.2", tier = 1 },
      { name = "c", uri = "sip:10.0.0.3", tier = 2 } ]] }
    local list, choice = verdicts()
    assert.same({ a = "chosen", b = "next", c = "next: tier 1 is usable" }, list)
    assert.equal("ordered", choice.policy)
    assert.equal("policy", choice.candidates[2].rule)
    assert.equal("tier", choice.candidates[3].rule)
    assert.equal(1, choice.tier)
  end)

  it("names the policy, also one that is a function", function()
    open { pool = 'policy = "hash"' }
    local _, choice = verdicts()
    assert.equal("hash", choice.policy)
    open { pool = "policy = function(_, servers) return servers[#servers] end" }
    _, choice = verdicts()
    assert.equal("function", choice.policy)
  end)

  it("says who has ordered it, however long the reason is, and cuts between characters", function()
    open {}
    assert(net.nodes[1]:ask("order", {
      pool = "pbx", server = "a", admin = "drain", reason = "x" .. ("ö"):rep(90), who = "ctl root",
    }))
    net:run(0.1)
    assert.equal(("out: drain, x%s (ctl root)"):format(("ö"):rep(25)), verdicts().a)
  end)

  it("says what an operator or the script has ordered", function()
    open { order = '"new disks", 600' }
    order("a", "drain")
    local list = verdicts()
    assert.matches("^out: drain, new disks %(script script.lua:%d+%), 10 min left$", list.a)
    assert.equal("chosen", list.b)
    order("a", "maint")
    assert.matches("^out: maint, new disks", verdicts().a)
  end)

  it("says since when a server is down, and why", function()
    open { order = '"no licence"' }
    order("a", "mark_down")
    net:run(30)
    local list = verdicts()
    assert.matches("^out: down for 3%d s, no licence$", list.a)
  end)

  it("says what a check has found", function()
    open { check = "{ interval = 2, timeout = 1, fall = 3, rise = 2, jitter = 0 }",
      pool = "failback = { hold = 100 }" }
    w.a:silence()
    net:run(20)
    assert.matches("^out: down for %d+ s, timeout", verdicts().a)
    w.a:resume()
    assert.is_true(net:run_until(function()
      return net.pools.pbx.a.health == "rising"
    end, 10, 0.1))
    assert.matches("^out: down for %d+ s, coming up, ", verdicts().a)
    net:run(10)
    local list = verdicts()
    assert.matches("^out: failback hold, %d+ s left$", list.a)
    assert.equal("chosen", list.b)
  end)

  it("says that a failback hold has no end", function()
    open { check = "{ interval = 2, timeout = 1, fall = 3, rise = 2, jitter = 0 }",
      pool = 'failback = { enabled = false }' }
    w.a:silence()
    net:run(20)
    w.a:resume()
    net:run(20)
    assert.equal("out: failback hold, until it is released", verdicts().a)
  end)

  it("says what holds a server, and for how long", function()
    open { handler = [[
      for server in pbx:each(req) do
        local res = req:try(server)
        if res and res.code == 503 then server:hold(42, "busy")
        elseif res then return res:forward() end
      end
      return req:reply(500)
    ]] }
    w.a:answer("MESSAGE", 503)
    verdicts()
    w.a:answer("MESSAGE", 200)
    local list = verdicts()
    assert.matches("^out: held, busy, 4[12] s left$", list.a)
    assert.equal("chosen", list.b)
  end)

  it("says that somebody else tries a server out", function()
    open { passive = "{ fall = 1, hold = 5 }", pool = "failback = { hold = 0 }, keep = 0" }
    w.a:refuse()
    verdicts()
    w.a:resume()
    w.a:answer("INVITE", 200, nil, 3)
    net:run(6) -- a trial is wanted
    local trial = w.alice:invite(uri)
    net:run(1)
    local list = verdicts()
    assert.equal("out: another request is trying it out", list.a)
    assert.equal("chosen", list.b)
    net:run(5)
    assert.equal("a", trial.server)
    w.alice:bye(trial)
    net:run(1)
  end)

  it("says which limit is full", function()
    open { of_a = ", max_calls = 1" }
    w.a:ring()
    local first = w.alice:invite(uri)
    net:run(0.5)
    local second = w.alice:invite(uri)
    net:run(0.5)
    local list = why.candidates(net, second.id)
    assert.same({ a = "out: full, max_calls 1", b = "chosen" }, list)
    w.alice:cancel(first)
    w.alice:bye(second)
    net:run(1)
  end)

  it("says which limit of a rate or a resource is full, and what is lacking", function()
    open { of_a = ", max_cps = 0.001", of_b = ", resources = { pstn = 1 }" }
    w.alice:call(uri)
    net:run(0.1)
    local call = w.alice:call(uri)
    assert.equal("out: full, max_cps 0.001", why.candidates(net, call.id).a)
    open { of_b = ", resources = { pstn = 1 }",
      handler = "return req:relay(pbx, { resources = { pstn = 1 } })" }
    call = w.alice:call(uri)
    assert.same({ a = "out: has none of, pstn", b = "chosen" }, why.candidates(net, call.id))
    call = w.alice:call(uri)
    local list, choice = why.candidates(net, call.id)
    assert.equal("full", choice.none)
    assert.equal("out: full, pstn 1", list.b)
  end)

  it("says that a server is on slow start", function()
    open { check = "{ interval = 2, timeout = 1, fall = 3, rise = 2, jitter = 0 }",
      pool = "slow_start = 1000, failback = { hold = 0 }" }
    w.a:silence()
    net:run(20)
    w.a:resume()
    net:run(10)
    local seen = {}
    for _ = 1, 30 do
      local said = verdicts().a
      seen[#seen + 1] = said ~= "chosen" and said or nil
    end
    assert.is_true(#seen > 10)
    assert.matches("^out: on slow start, takes 1%d %%, 1%d min left$", seen[1])
  end)

  it("says that nothing was usable, and what was the last resort", function()
    open { order = "", of_b = ", weight = 1" }
    order("a", "mark_down")
    order("b", "drain")
    local list, choice = verdicts()
    assert.equal("chosen: the last resort: nothing is usable, down", list.a)
    assert.matches("^out: drain", list.b)
    assert.equal("last_resort", choice.candidates[1].rule)
    order("a", "maint")
    local _, none, call = verdicts()
    assert.equal("down", none.none)
    assert.is_nil(none.server)
    assert.equal(500, call.code)
    assert.equal("returned down", why.words(why.of(net, call.id))[3])
  end)

  it("says that the pool fails rather than trying", function()
    open { pool = 'all_down = "fail"' }
    order("a", "mark_down")
    order("b", "mark_down")
    local list, choice = verdicts()
    assert.equal("down", choice.none)
    assert.matches("^out: down", list.a)
  end)

  it("says that an empty pool is empty", function()
    open { servers = "" }
    local list, choice = verdicts()
    assert.same({}, list)
    assert.equal("empty", choice.none)
  end)

  it("says that a server was tried, and who challenged this caller", function()
    open { pool = 'policy = "round_robin"', servers = [[
      { name = "a", uri = "sip:10.0.0.1" }, { name = "b", uri = "sip:10.0.0.2" } ]] }
    w.a:answer("MESSAGE", 401)
    w.b:answer("MESSAGE", 401)
    local first = w.alice:ask("MESSAGE", uri, { call_id = "again" })
    net:run(0.1)
    w.alice:ask("MESSAGE", uri, { call_id = "again" })
    net:run(0.1)
    local list = why.candidates(net, "again")
    assert.equal("chosen: it challenged this caller a moment ago", list[first.server])
    w.a:answer("MESSAGE", 503)
    w.b:answer("MESSAGE", 503)
    local call = w.alice:ask("MESSAGE", uri)
    net:run(0.1)
    local choices = why.steps(why.of(net, call.id), "choice")
    assert.equal("out: tried already", why.verdicts(choices[2])[choices[1].server])
  end)

  it("says that nobody has heard of a server yet, or that it is a spare one", function()
    open { check = "{ interval = 5, timeout = 1, jitter = 0 }", servers = [[
      { name = "a", uri = "sip:10.0.0.1" }, { name = "b", uri = "sip:10.0.0.2", weight = 0 },
      { name = "c", uri = "sip:10.0.0.3", check = { interval = 1000, timeout = 900 } } ]] }
    w.c:silence()
    net:run(12)
    local list = verdicts()
    assert.equal("chosen", list.a)
    assert.equal("next: weight 0: only when nobody else can", list.b)
    assert.equal("next: no check has heard of it yet", list.c)
  end)

  it("says that the address of a server is not known", function()
    open { servers = [[ { name = "a", uri = "sip:pbx.example.net" },
      { name = "b", uri = "sip:10.0.0.2", tier = 2 } ]], dns = {} }
    net:run(5)
    local list = verdicts()
    assert.equal("out: its address is not known", list.a)
    assert.equal("chosen", list.b)
  end)

  it("names twelve servers of many, those that are out first", function()
    local servers = {}
    for i = 1, 40 do
      servers[i] = ('{ name = "s%02d", uri = "sip:10.0.1.%d" }'):format(i, i)
    end
    open { servers = table.concat(servers, ", ") }
    order("s30", "mark_down")
    order("s31", "drain")
    local call = w.alice:invite(uri)
    net:run(0.5)
    local list, choice = why.candidates(net, call.id)
    assert.matches("^out: down", list.s30)
    assert.matches("^out: drain", list.s31)
    assert.equal("chosen", list.s01)
    assert.equal(12, #choice.candidates)
    assert.equal(28, choice.more)
    w.alice:cancel(call)
    net:run(1)
  end)

  it("is the present one, whatever has changed since the choice before", function()
    open {}
    assert.same({ a = "chosen", b = "next: tier 1 is usable" }, verdicts())
    order("a", "mark_down")
    assert.equal("chosen", verdicts().b)
    order("a", "mark_up")
    net:run(100)
    assert.equal("chosen", verdicts().a)
  end)

  it("is there for pool:pick, and of a fork what the caller may not reach", function()
    open { handler = [[
      local server = pbx:pick(req)
      local res = req:fork({ server, { uri = "sip:x@203.0.113.77" } })
      if res then return res:forward() end
      return req:reply(480)
    ]] }
    local list, choice, call = verdicts()
    assert.equal("chosen", list.a)
    assert.equal("a", choice.server)
    local fork = why.steps(why.of(net, call.id), "fork")[1]
    assert.equal("forbidden", fork.rule)
    assert.equal(1, fork.left_out)
  end)
end)
