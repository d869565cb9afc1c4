-- The key of a cluster is replaced, node by node and without a restart
-- (docs/how-to/rotate-the-cluster-key.md, semantics 18).
local sim = require "support.sim"
local policy = require "support.policy"
local registrar = require "support.registrar"
local takeover = require "support.takeover"
local ipairs, pairs = ipairs, pairs

local old, new, newer = takeover.key, "the second key 2", "and a third one "

-- Keys of the first node and of the second one, at each step.
local steps = {
  { { old }, { old }, name = "before" },
  { { old, new }, { old }, name = "added on one" },
  { { old, new }, { old, new }, name = "added" },
  { { new, old }, { old, new }, name = "swapped on one" },
  { { new, old }, { new, old }, name = "swapped" },
  { { new }, { new, old }, name = "dropped on one" },
  { { new }, { new }, name = "dropped" },
}
local dropping = 6

sim.for_workers("the cluster key is replaced:", function(workers)
  after_each(sim.finish)

  local w

  local function open(opts)
    opts = opts or {}
    opts.workers, opts.alive = workers, true
    w = takeover.open(opts)
  end

  local function use(step)
    for i, node in ipairs { w.one, w.two } do
      assert.is_true(node:reload { key = steps[step][i] })
    end
  end

  -- That node answers from now on.
  local function move(to)
    w[to == 1 and "one" or "two"]:take(w.vip)
  end

  local function bad_cookies()
    return w.one:metric "tandem_bad_cookies_total" + w.two:metric "tandem_bad_cookies_total"
  end

  it("no step costs a call one request, at whichever node it is made", function()
    open()
    local calls = {}
    for i, step in ipairs(steps) do
      use(i)
      if i == dropping then -- what is of before the last swap has ended by now
        for k = 1, #calls do
          if calls[k].begun < 5 then
            assert.equal(200, w.alice:bye(calls[k].call):wait().code)
            calls[k].ended = true
          end
        end
      end
      for node = 1, 2 do
        move(node)
        local call = w.alice:call(takeover.uri)
        assert.equal("up", call.state, step.name)
        calls[#calls + 1] = { call = call, begun = i }
        for _, one in ipairs(calls) do
          if not one.ended then
            local what = ("%s, node %d, of step %d"):format(step.name, node, one.begun)
            assert.equal(200, w.alice:in_dialog(one.call, "INFO"):wait().code, what)
            assert.equal(200, w.a:in_dialog(one.call, "INFO"):wait().code, what)
            assert.equal(200, w.alice:reinvite(one.call):wait().code, what)
          end
        end
      end
    end
    assert.equal(0, bad_cookies())
    assert.equal(2 * #steps, w:transactions "INVITE")
    for _, one in ipairs(calls) do
      if not one.ended then
        assert.equal(200, w.a:bye(one.call):wait().code)
      end
    end
  end)

  for i = 1, #steps do
    it("a call in set-up changes the node: " .. steps[i].name, function()
      open()
      w.a:ring(3)
      move(1)
      use(i)
      local call = w.alice:invite(takeover.uri)
      w.net:run(1)
      move(2)
      assert.equal(200, call:wait().code)
      assert.equal(1, w:transactions "INVITE")
      assert.equal(200, w.alice:bye(call):wait().code)
      assert.equal(0, bad_cookies() + w:dropped "forged_branch")
    end)

    it("and is cancelled there: " .. steps[i].name, function()
      open()
      w.a:ring(30)
      move(1)
      use(i)
      local call = w.alice:invite(takeover.uri)
      w.net:run(1)
      move(2)
      w.alice:cancel(call)
      assert.equal(487, call:wait(5).code)
      assert.equal(200, call.cancel.code)
      assert.equal(1, w:transactions "INVITE")
      assert.equal(0, w:dropped "forged_branch")
    end)
  end

  it("a node that does not know the key of the other one loses what is in set-up", function()
    open()
    w.a:ring(3)
    assert.is_true(w.one:reload { key = { new } }) -- the mistake: not added on two
    local call = w.alice:invite(takeover.uri)
    w.net:run(1)
    move(2)
    call:wait(5)
    assert.is_nil(call.code)
    assert.is_true(w:dropped "forged_branch" >= 1)
    call:wait(40)
  end)

  it("what is open is signed with one key to its end", function()
    open { handler = [[function(req)
      req:reply(183)
      sip.sleep(2)
      return req:reply(480)
    end]] }
    local call = w.alice:invite(takeover.uri)
    w.net:run(1)
    use(5)
    use(7)
    assert.equal(480, call:wait(3).code)
    w.net:run(1)
    local tags = {}
    for _, message in ipairs(w.alice.received) do
      if message.to_tag then
        tags[message.to_tag] = message.code
      end
    end
    assert.equal(480, select(2, next(tags)))
    assert.is_nil(next(tags, (next(tags))))
    assert.equal(0, w:dropped "stray_ack")
  end)

  it("the ACK of a refusal that is no transaction is known by either key", function()
    open()
    for i, expected in ipairs { 0, 0, 1 } do
      w.one:reload { key = { old } }
      policy.send(w.alice, "INVITE", takeover.uri, { route = { "<sip:203.0.113.9;lr>" },
        call_id = "refused" .. i })
      w.net:run(0.1)
      local refusal = w.alice.received[#w.alice.received]
      assert.equal(403, refusal.code)
      w.one:reload { key = i < 3 and steps[2 * i + 1][1] or { new } }
      w.alice:send(table.concat({
        "ACK " .. takeover.uri .. " SIP/2.0", "Via: " .. refusal:list("Via")[1]
          :gsub(";received=[^;]*", ""):gsub(";rport=%d+", ""),
        "Max-Forwards: 70", "From: " .. refusal:header "From", "To: " .. refusal:header "To",
        "Call-ID: refused" .. i, "CSeq: 1 ACK", "Content-Length: 0", "", "" }, "\r\n"))
      w.net:run(0.1)
      assert.equal(expected, w:dropped "stray_ack")
    end
  end)

  it("a request that comes back is a loop, whichever key signed its Via", function()
    open()
    w.a:answer("OPTIONS", 200)
    w.alice:ask("OPTIONS", takeover.uri)
    local bytes = w.a:got("OPTIONS")[1].bytes
    for i, code in pairs { [3] = 482, [5] = 482, [7] = 200 } do
      use(i)
      local before = #w.carol.received
      w.carol:send(bytes:gsub("\r\n", "\r\nVia: SIP/2.0/UDP 192.0.2.8;branch=z9hG4bKl" .. i
        .. "\r\n", 1), nil)
      w.net:run(0.5)
      assert.equal(code, w.carol.received[before + 1].code, steps[i].name)
    end
  end)

  it("a call that the script answers is known by its ACK", function()
    open { handler = [[function(req)
      return req:reply(200, "OK", { headers = { Contact = "<sip:10.0.0.200>" } })
    end]] }
    local call = w.alice:invite(takeover.uri, { ack = false })
    w.net:run(0.2)
    assert.equal(200, call.code)
    use(5)
    use(7)
    w.alice:ack(call)
    local before = #w.alice:got(200)
    w.net:run(10)
    assert.equal(before, #w.alice:got(200))
  end)

  describe("when the old one is dropped too early", function()
    local call

    before_each(function()
      open()
      call = w.alice:call(takeover.uri)
      w.net:run(0.1) -- with its ACK
      use(3)
      use(5)
      use(7)
    end)

    it("requests of its calls go by Route and Request-URI, and are counted", function()
      assert.equal(200, w.alice:in_dialog(call, "INFO"):wait().code)
      assert.equal(1, bad_cookies())
      assert.equal(200, w.a:in_dialog(call, "INFO"):wait().code) -- from a member
      assert.equal(2, bad_cookies())
      assert.equal(200, w.alice:bye(call):wait().code)
    end)

    it("and lead nobody to a stranger", function()
      local victim = w.net:uas("203.0.113.9", "victim")
      w.a.contact = "<sip:a@203.0.113.9>"
      assert.equal(200, w.a:reinvite(call):wait().code)
      assert.equal(481, w.alice:in_dialog(call, "INFO"):wait().code)
      assert.same({}, victim.received)
    end)

    it("the second line makes it good again", function()
      use(5)
      assert.equal(200, w.alice:bye(call):wait().code)
      assert.equal(0, bad_cookies())
    end)
  end)

  it("a wrong script changes no key", function()
    open()
    local call = w.alice:call(takeover.uri)
    assert.is_nil(w.one:reload { source = "error 'no'", key = { new } })
    assert.equal(200, w.alice:bye(call):wait().code)
    assert.equal(0, bad_cookies())
  end)

  it("a reload without a word of it changes none", function()
    open()
    use(3)
    assert.is_true(w.one:reload())
    use(5)
    assert.is_true(w.one:reload())
    local call = w.alice:call(takeover.uri)
    move(2)
    assert.equal(200, w.alice:bye(call):wait().code)
    assert.equal(0, bad_cookies())
  end)

  describe("counted calls", function()
    before_each(function()
      open { before = 'sip.settings { state_dir = "/var/lib/tandem" }' }
    end)

    local function up()
      return w.one.pools.pbx.a.calls
    end

    it("end with their BYE, over any number of rotations", function()
      local call = w.alice:call(takeover.uri)
      for _, keys in ipairs { { old, new }, { new, old }, { new, newer }, { newer, new } } do
        w.one:reload { key = keys }
      end
      assert.equal(1, up())
      w.alice:bye(call):wait()
      w.net:run(0.1)
      assert.equal(0, up())
    end)

    it("outlive the process with them, and the file is signed anew at once", function()
      local call = w.alice:call(takeover.uri)
      w.net:run(2)
      for _, keys in ipairs { { old, new }, { new, old }, { new, newer }, { newer, new } } do
        w.one:reload { key = keys }
        w.net:run(2)
      end
      w.one:crash()
      w.one.opts.key = { newer }
      w.one:start()
      move(1)
      assert.equal(0, w.net:count "state.damaged")
      assert.equal(1, up())
      w.alice:bye(call):wait()
      w.net:run(0.1)
      assert.equal(0, up())
    end)
  end)
end)

sim.for_workers("the key is replaced under registered phones:", function(workers)
  after_each(sim.finish)

  it("they are called by tokens of either key, and of no other", function()
    local w = policy.world { workers = workers, pool = 'path = "always"', key = old,
      handler = "return req:relay(pbx)" }
    local phone = w.net:uac("198.51.100.9:41002", { name = "phone", private = "192.168.1.20" })
    local bindings = registrar.new(w.a)
    assert.equal(200, phone:ask("REGISTER", "sip:example.com").code)

    local function called()
      local call = registrar.invite(w.a, bindings.phone)
      w.net:run(1)
      return call.code
    end

    for _, keys in ipairs { { old }, { old, new }, { new, old } } do
      w.net:reload { key = keys }
      assert.equal(200, called())
    end
    assert.equal(0, w.net:metric "tandem_bad_tokens_total")
    w.net:reload { key = { new } }
    assert.equal(403, called())
    assert.equal(1, w.net:metric "tandem_bad_tokens_total")
    assert.equal(200, phone:ask("REGISTER", "sip:example.com").code)
    assert.equal(200, called())
  end)
end)
