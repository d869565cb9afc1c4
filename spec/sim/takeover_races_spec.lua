-- The server's answer and the caller's repetition, after the death of a node, in either
-- order: by way of one that has the request by then, or has not.
local sim = require "support.sim"
local takeover = require "support.takeover"
local wire = require "support.wire"
local ipairs = ipairs

local uri = takeover.uri
-- He repeats it at 0.5 s and 1.5 s.
local moments = { { "before", 0.3 }, { "just after", 0.505 }, { "long after", 1.2 } }

sim.for_workers("a node dies before it has heard anything, and the server's", function(workers)
  after_each(sim.finish)

  local w

  local function dies(method, code, seconds, opts)
    opts = opts or {}
    opts.workers = workers
    w = takeover.open(opts)
    w.a:answer(method, code, seconds)
    local asked = w.alice:request(method, uri)
    w.net:run(0.1)
    w:die()
    return asked
  end

  for _, moment in ipairs(moments) do
    local when, seconds = moment[1], moment[2]

    it("200 comes " .. when .. " the INVITE is repeated", function()
      local call = dies("INVITE", 200, seconds)
      call:wait(10)
      assert.equal(200, call.code)
      assert.near(seconds, call.elapsed, 0.01)
      w.net:run(3)
      assert.equal(1, w:transactions "INVITE")
      assert.same({}, w.b:got "INVITE")
      assert.equal(0, call.extra)
      assert.equal(200, w.alice:bye(call):wait().code)
      w.net:run(40)
      assert.equal(0, w.a.unacked)
      assert.same({}, w.a:got "CANCEL")
    end)

    it("486 comes " .. when .. " the INVITE is repeated", function()
      local call = dies("INVITE", 486, seconds)
      call:wait(10)
      assert.equal(486, call.code)
      assert.near(seconds, call.elapsed, 0.01)
      w.net:run(40)
      assert.equal(1, w:transactions "INVITE")
      assert.same({}, w.b.received)
      assert.equal(0, w.a.unacked)
      assert.equal(1, #w.alice:got(486))
    end)

    -- Who has the request may go on with the next server; who only passes it on may not.
    it("503 comes " .. when .. " the INVITE is repeated", function()
      local call = dies("INVITE", 503, seconds)
      call:wait(10)
      local moved = seconds > 0.5
      assert.equal(moved and 200 or 500, call.code)
      assert.equal(moved and 2 or 1, w:transactions "INVITE")
      w.net:run(0.1)
      assert.equal(0, w.a.unacked)
      if moved then
        w.alice:bye(call)
      end
      w.net:run(40)
    end)

    it("180 comes " .. when .. " the INVITE is repeated, and then 200", function()
      local call = dies("INVITE", 180, seconds)
      w.net:run(seconds + 0.1)
      assert.equal(180, call.provisionals[#call.provisionals])
      assert.equal("ringing", call.state)
      w.net:run(20)
      assert.equal(1, w:transactions "INVITE")
      w.alice:cancel(call)
      call:wait(5)
      assert.equal(487, call.code)
    end)

    it("answer to MESSAGE comes " .. when .. " that is repeated", function()
      local asked = dies("MESSAGE", 202, seconds)
      asked:wait(10)
      assert.equal(202, asked.code)
      assert.near(seconds, asked.elapsed, 0.01)
      w.net:run(5)
      assert.equal(1, #wire.branches(w.a:got "MESSAGE"))
      assert.equal(1, #w.alice:got(202))
      assert.same({}, w.b.received)
    end)
  end

  it("200 comes while the other node is at another server, whom it thought better", function()
    local call = dies("INVITE", 200, 1.2, { policy = "relay", one_tier = true })
    assert(w.two:override [[{"set": [{"pool": "pbx", "server": "a",
      "what": "weight", "value": 0, "is_new": true}]}]])
    w.b:ring(3)
    w.net:run(1)
    assert.equal(1, #w.a:got "INVITE")
    assert.equal(1, #w.b:got "INVITE")
    call:wait(10)
    assert.equal("a", call.server)
    w.net:run(1)
    -- Of both only a is in the call: b was cancelled.
    assert.equal(1, #wire.branches(w.b:got "CANCEL"))
    assert.equal(0, call.extra)
    w.alice:bye(call)
    w.net:run(40)
    assert.equal(0, w.a.unacked + w.b.unacked)
  end)
end)
