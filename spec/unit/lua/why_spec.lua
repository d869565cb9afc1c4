-- What a decision trace looks like to people: as text, as a line, as a call flow.
local explain = require "tandem.control.explain"
local ladder = require "tandem.control.ladder"

local function lines(text)
  return (text:gsub("\n +", "\n"):gsub("^\n", ""))
end

-- A call that failed over twice, as lua/tandem/why.lua gives it.
local function failover()
  return {
    call_id = "f81d@x", time = 1764213164.102, total = 3.004, code = 200, method = "INVITE",
    uri = "sip:bob@example.com", caller = "sip:alice@example.com", kind = "initial",
    from = "192.0.2.7:5060;transport=udp", to = "10.0.0.100:5060;transport=udp",
    at = "route.lua:14", verb = "forward",
    steps = {
      { what = "received", t = 0, method = "INVITE", from = "192.0.2.7:5060;transport=udp",
        to = "10.0.0.100:5060;transport=udp" },
      { what = "choice", t = 0, pool = "pbx", policy = "ordered", server = "a", tier = 1, more = 3,
        candidates = {
          { name = "a", tier = 1, verdict = "chosen", rule = "policy" },
          { name = "bb", tier = 2, verdict = "next", rule = "tier", detail = "tier 1 is usable" },
          { name = "c", tier = 2, verdict = "excluded", rule = "down", ago = 240,
            detail = "timeout" },
          { name = "d", tier = 2, verdict = "excluded", rule = "held", left = 42,
            detail = "retry_after" },
        } },
      { what = "attempt", t = 0, number = 1, group = 1, server = "pbx/a",
        address = "10.0.0.1:5060;transport=udp" },
      { what = "failed", t = 2, number = 1, cause = "silent" },
      { what = "attempt", t = 2, number = 2, group = 2, server = "pbx/bb",
        address = "10.0.0.2:5060;transport=udp" },
      { what = "answer", t = 2.002, number = 2, code = 503 },
      { what = "attempt", t = 2.002, number = 3, group = 3, server = "pbx/c",
        address = "10.0.0.3:5060;transport=udp" },
      { what = "provisional", t = 2.004, number = 3, code = 180 },
      { what = "reply", t = 2.004, code = 180 },
      { what = "answer", t = 3.004, number = 3, code = 200 },
      { what = "reply", t = 3.004, code = 200 },
      { what = "verb", t = 3.004, verb = "forward", at = "route.lua:14" },
    },
  }
end

describe("a trace as text", function()
  it("says all of it, step by step", function()
    assert.equal([[
INVITE sip:bob@example.com
Call-ID f81d@x
caller sip:alice@example.com
2025-11-27T03:12:44.102Z
200 after 3.004 s, decided at route.lua:14

     0.000  INVITE from 192.0.2.7:5060;transport=udp, to 10.0.0.100:5060;transport=udp
     0.000  pool pbx, ordered: a
                 a   tier 1  chosen
                 bb  tier 2  next: tier 1 is usable
                 c   tier 2  out: down for 4 min, timeout
                 d   tier 2  out: held, retry_after, 42 s left
                 and 3 more
     0.000  #1 to pbx/a at 10.0.0.1:5060;transport=udp
     2.000  #1 failed: no answer (silent)
     2.000  #2 to pbx/bb at 10.0.0.2:5060;transport=udp
     2.002  #2 503
     2.002  #3 to pbx/c at 10.0.0.3:5060;transport=udp
     2.004  #3 180
     2.004  180 to the caller
     3.004  #3 200
     3.004  200 to the caller
     3.004  forward at route.lua:14
]], explain.text(failover()))
  end)

  it("is a line, for a list", function()
    assert.equal("2025-11-27T03:12:44.102Z  INVITE    200    3.004  f81d@x  "
      .. "pbx/a:silent, pbx/bb:503, pbx/c:200", explain.line(failover()))
    assert.equal("2025-11-27T03:12:44.102Z  late        -    0.000  x", explain.line {
      call_id = "x", time = 1764213164.102, total = 0, code = 0, steps = {},
    })
    assert.equal("2025-11-27T03:12:44.102Z  INVITE   open    5.000  x  pbx/a:-", explain.line {
      call_id = "x", time = 1764213164.102, total = 5, code = 0, open = true, method = "INVITE",
      steps = { { what = "attempt", number = 1, server = "pbx/a" } },
    })
  end)

  it("is the same when it comes out of JSON", function()
    local cjson = require "cjson"
    local again = cjson.decode(cjson.encode(failover()))
    assert.equal(explain.text(failover()), explain.text(again))
    assert.equal(explain.line(failover()), explain.line(again))
    assert.equal(ladder.text(failover()), ladder.text(again))
  end)

  it("says how it ended, or that it has not", function()
    for text, record in pairs {
      ["open for 12.0 s"] = { open = true, total = 12 },
      ["no answer after 1.000 s, decided at a.lua:1"] = { code = 0, total = 1, at = "a.lua:1" },
      ["403, refused by the proxy itself"] = { code = 403, total = 0, refused = true },
      ["a 2xx that came when all was over"] = { code = 200, total = 0, late = "ended" },
      ["486, passed on for another node"] = { code = 486, total = 0, takeover = true },
    } do
      record.method = record.method or (not record.late and "INVITE" or nil)
      assert.equal(text, explain.result(record))
    end
  end)

  it("has words for every step", function()
    local record = { call_id = "x", time = 0, total = 1, code = 500, method = "CANCEL",
      uri = "sip:x", cut = true, steps = {} }
    local want = {
      ["the caller cancels"] = { what = "cancel" },
      ["#1 is cancelled, its last word is awaited"] = { what = "cancelling", number = 1 },
      ["#1 given up"] = { what = "abandoned", number = 1 },
      ["the script failed: a.lua:1: x"] = { what = "error", message = "a.lua:1: x" },
      ["the caller gets no answer"] = { what = "withheld" },
      ["a late 2xx of pbx/a: acknowledged and ended with BYE"] =
        { what = "late", server = "pbx/a", became = "ended" },
      ["another node had sent the request: 486 of pbx/a passed on to the caller"] =
        { what = "takeover", code = 486, server = "pbx/a" },
      ["another node had sent the request: 200 passed on to the caller"] =
        { what = "takeover", code = 200 },
      ["a late 2xx: passed on to the caller"] = { what = "late", became = "forwarded" },
      ["refused with 481: there is nothing to cancel"] = { what = "refused", code = 481 },
      ["refused with 403: Route Not Allowed"] =
        { what = "refused", code = 403, reason = "Route Not Allowed" },
      ["refused with 483: Max-Forwards is used up"] = { what = "refused", code = 483 },
      ["refused with 499: it is not valid"] = { what = "refused", code = 499 },
      ["relay: 500 is an answer for the caller (retry_on does not name it)"] =
        { what = "relay", rule = "final", code = 500 },
      ["relay: no more attempts allowed (attempts)"] = { what = "relay", rule = "attempts" },
      ["relay: no other server to try"] = { what = "relay", rule = "candidates" },
      ['the handler returned nil, "full"'] = { what = "returned", word = "full" },
      ["fork: 1 target that the caller may not reach"] =
        { what = "fork", rule = "forbidden", left_out = 1 },
      ["fork: redirected too often"] = { what = "fork", rule = "depth", left_out = 2 },
      ["pool gw: no server, those usable are full"] =
        { what = "choice", pool = "gw", none = "full", candidates = {} },
      ["#2 408, made here: nobody answered the call in time"] =
        { what = "answer", number = 2, code = 408, is_local = true },
      ["#3 to where its route leads"] = { what = "attempt", number = 3 },
      ["something new"] = { what = "something new" },
    }
    for text, step in pairs(want) do
      step.t = 0
      record.steps = { step }
      local shown = lines(explain.text(record))
      assert.matches("0.000  " .. text .. "\n", shown, 1, true)
      assert.matches("and more, for which there was no room\n", shown, 1, true)
    end
  end)

  it("has words for every rule", function()
    for text, candidate in pairs {
      ["out: tried already"] = { verdict = "excluded", rule = "tried" },
      ["out: full, max_calls 480"] =
        { verdict = "excluded", rule = "full", detail = "max_calls 480" },
      ["out: has none of, pstn"] = { verdict = "excluded", rule = "lacks", detail = "pstn" },
      ["out: failback hold, until it is released"] =
        { verdict = "excluded", rule = "failback", detail = "until it is released" },
      ["out: drain, x (root), 2 h left"] =
        { verdict = "excluded", rule = "drain", detail = "x (root)", left = 7200 },
      ["out: down for 2 d, timeout"] =
        { verdict = "excluded", rule = "down", detail = "timeout", ago = 172800 },
      ["out: DNS names it no more"] = { verdict = "excluded", rule = "left" },
      ["next"] = { verdict = "next", rule = "policy" },
      ["next: weight 0: only when nobody else can"] = { verdict = "next", rule = "spare" },
      ["chosen"] = { verdict = "chosen", rule = "policy" },
      ["chosen: it challenged this caller a moment ago"] = { verdict = "chosen", rule = "sticky" },
      ["chosen: the last resort: nothing is usable, down"] =
        { verdict = "chosen", rule = "last_resort", detail = "down" },
    } do
      assert.equal(text, explain.candidate(candidate))
    end
  end)
end)

describe("a trace as a call flow", function()
  it("reads well at 80 columns with three servers", function()
    local text = ladder.text(failover())
    assert.equal([[
           caller        tandem         pbx/a        pbx/bb         pbx/c
   0.000      |---INVITE--->|             |             |             |
   0.000      |             |---INVITE--->|             |             |
   2.000      |             |   silent    x             |             |
   2.000      |             |----------INVITE---------->|             |
   2.002      |             |<-----------503------------|             |
   2.002      |             |-----------------INVITE----------------->|
   2.004      |             |<------------------180-------------------|
   2.004      |<----180-----|             |             |             |
   3.004      |             |<------------------200-------------------|
   3.004      |<----200-----|             |             |             |
]], text)
    for line in text:gmatch "[^\n]+" do
      assert.is_true(#line <= 80)
    end
  end)

  it("shows what ends a branch, and what the caller does", function()
    assert.equal([[
           caller             tandem              pbx/a              pbx/b
   0.000      |------INVITE----->|                  |                  |
   0.000      |                  |------INVITE----->|                  |
   0.000      |                  |---------------INVITE--------------->|
   0.100      |                  |<------180--------|                  |
   0.100      |<------180--------|                  |                  |
   1.000      |------CANCEL----->|                  |                  |
   1.000      |                  |------CANCEL----->|                  |
   1.000      |                  |              given up               x
   1.001      |                  |<------487--------|                  |
   1.001      |<------487--------|                  |                  |
   3.000      |                  |<-------------late 2xx---------------|
   3.000      |                  |--------------ACK, BYE-------------->|
]], ladder.text {
      method = "INVITE", steps = {
        { what = "received", t = 0, method = "INVITE" },
        { what = "attempt", t = 0, number = 1, server = "pbx/a" },
        { what = "attempt", t = 0, number = 2, server = "pbx/b" },
        { what = "provisional", t = 0.1, number = 1, code = 180 },
        { what = "reply", t = 0.1, code = 180 },
        { what = "cancel", t = 1 },
        { what = "cancelling", t = 1, number = 1 },
        { what = "abandoned", t = 1, number = 2 },
        { what = "answer", t = 1.001, number = 1, code = 487 },
        { what = "reply", t = 1.001, code = 487 },
        { what = "late", t = 3, server = "pbx/b", became = "ended" },
      },
    })
  end)

  it("draws nothing that was not sent", function()
    assert.equal([[
           caller              tandem               pbx/a
   0.000      |------INVITE------>|                   |
   0.000      |                   |     no_source     x
   0.000      |<-------500--------|                   |
]], ladder.text {
      method = "INVITE", steps = {
        { what = "received", t = 0, method = "INVITE" },
        { what = "attempt", t = 0, number = 1, server = "pbx/a" },
        { what = "failed", t = 0, number = 1, cause = "no_source" },
        { what = "reply", t = 0, code = 500 },
      },
    })
  end)

  it("keeps the end of names for which there is no room", function()
    local steps = { { what = "received", t = 0, method = "INVITE" } }
    for i = 1, 6 do
      steps[#steps + 1] = {
        what = "attempt", t = i, number = i, server = ("a-long-pool-name/server%d"):format(i),
      }
    end
    local text = ladder.text { method = "INVITE", steps = steps }
    local head = text:match "^[^\n]+"
    for i = 1, 6 do
      assert.matches("../server" .. i, head, 1, true)
    end
  end)

  it("takes the width that there is", function()
    assert.matches("|------INVITE------>|", ladder.text(failover(), 200), 1, true)
    assert.matches("|--INVITE-->|", ladder.text(failover(), 40), 1, true)
  end)
end)
