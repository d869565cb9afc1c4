-- Messages that are nearly SIP (support/hostile.lua) beside a call that is up and calls that
-- come: nothing crashes, no call fails, nobody gets more than he sent, and nothing is left.
-- TANDEM_HOSTILE=n: n messages of each kind instead of a sample; 0: all there are.
local hostile = require "support.hostile"
local sim = require "support.sim"

local script = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060", "tcp:0.0.0.0:5060" }
sip.settings { trust = { "192.0.2.0/24" }, domains = { "example.com" } }
local pool = sip.pool("pool", { check = false, passive = false,
  servers = { { name = "a", uri = "sip:10.0.0.1" } } })
sip.route(function(req)
  req:del_header "X-Header"
  req:set_header("X-New", req.from.user or "")
  return req:relay(pool, { timeout = 1, attempts = 1 })
end)
]]

local wanted = math.tointeger(tonumber(os.getenv "TANDEM_HOSTILE" or ""))

local function sample(kind, many)
  local count = hostile.count(kind)
  many = wanted or many
  return hostile.sample(count, many == 0 and count or many, 3)
end

describe("messages that are nearly SIP", function()
  after_each(sim.finish)

  local net, a, alice, stranger, call

  local function open(caller)
    net = sim.new { source = script, workers = 2, seed = 5,
      dns = { ["example.com"] = "10.0.0.1" } }
    a = net:uas("10.0.0.1", "a")
    alice, stranger = net:uac("192.0.2.7", "alice"), net:uac(caller or "192.0.2.66", "stranger")
    call = alice:call "sip:bob@example.com"
    net:run(0.2)
    assert.equal("up", call.state)
  end

  -- A call as users make them, whatever goes on.
  local function calls_work(n)
    local bob = alice:call("sip:bob" .. n .. "@example.com")
    assert.same({ n, 200, "a" }, { n, bob.code, bob.server })
    alice:bye(bob)
    a.received, stranger.received, stranger.garbage = {}, {}, {}
  end

  -- The one that was up all the time is, and ends as calls do.
  local function ends_well()
    assert.equal(200, alice:reinvite(call):wait().code)
    assert.equal(200, alice:bye(call):wait().code)
    assert.equal(0, net:count "lua.error")
  end

  -- What the stranger was sent for message n: how many, and their bytes.
  local function answers_to(n)
    local mark, count, size = "\r\nCall-ID: " .. n .. "@", 0, 0
    for _, list in ipairs { stranger.received, stranger.garbage } do
      for _, message in ipairs(list) do
        if message.bytes:find(mark, 1, true) then
          count, size = count + 1, size + #message.bytes
        end
      end
    end
    stranger.received, stranger.garbage = {}, {}
    return count, size
  end

  it("as datagrams", function()
    open()
    a:answer("*", 200)
    local answered, numbers = 0, sample("request", 1500)
    for i, n in ipairs(numbers) do
      local bytes, name = hostile.message(n)
      stranger:send(bytes:sub(1, 65507))
      net:run(0.01)
      local count, size = answers_to(n)
      local ours = #a.received == 0 -- no server has answered
      assert(count <= 1 and (not ours or size <= 1.5 * #bytes),
        ("number %d (%s): %d answers of %d bytes to %d"):format(n, name, count, size, #bytes))
      a.received = {}
      answered = answered + count
      if i % 150 == 0 then
        calls_work(n)
      end
    end
    assert.same({}, a.garbage) -- what goes on is SIP
    -- most are still requests, and some of each kind of mistake were found
    assert(answered > #numbers / 4, answered)
    for _, reason in ipairs { "not_sip", "start_line", "header", "size", "length", "via",
      "identity",
      "routing" } do
      assert(net:metric("tandem_parse_errors_total", { reason = reason }) > 0, reason)
    end
    ends_well()
  end)

  it("on connections, in pieces", function()
    open "tcp:192.0.2.66"
    for i, n in ipairs(sample("request", 400)) do
      local bytes = hostile.message(n)
      stranger:raw(bytes, 1 + n * 31 % 1400)
      net:run(0.05)
      if i % 8 == 0 then
        stranger:reset()
      end
      if i % 80 == 0 then
        calls_work(n)
      end
    end
    assert.same({}, a.garbage)
    ends_well()
  end)

  it("as answers of a server", function()
    open()
    local numbers, at = sample("response", 700), 0
    a:on("OPTIONS", function(req, reply)
      for _ = 1, 7 do
        at = at + 1
        if numbers[at] then
          a:send(hostile.response(numbers[at], {
            vias = "Via: " .. table.concat(req:list "Via", "\r\nVia: ") .. "\r\n",
            call_id = req.call_id, from_tag = req.from_tag, cseq_method = "OPTIONS",
            code = at % 3 == 0 and "200" or "199",
          }):sub(1, 65507), req.source)
        end
      end
      reply(486)
    end)
    while at < #numbers do
      local probe = stranger:ask("OPTIONS", "sip:bob@example.com")
      assert(probe.code, at)
      if at % 140 == 0 then
        calls_work(at)
      end
    end
    a:on("OPTIONS", nil)
    ends_well()
  end)

  it("of scanners", function()
    open()
    a:answer("*", 404)
    for n = 1, 600 do
      stranger:send(hostile.scan(n))
      net:run(0.001)
      if n % 100 == 0 then
        a:answer("*", 200)
        calls_work(n)
        a:answer("*", 404)
      end
    end
    a:answer("*", 200)
    ends_well()
  end)
end)
