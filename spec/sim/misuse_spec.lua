-- What a script gives wrongly is refused with the file and the line of the script,
-- whichever of our modules finds out, and where a method is called without its colon.
local policy = require "support.policy"

-- try_all(call) calls with values of all kinds, most of them wrong for any argument, and
-- gives what is wrong with the messages. CALL is on a line of its own.
local frame = [[
local sip = require "tandem"
sip.listen { "udp:0.0.0.0:5060" }
local pbx = sip.pool("pbx", { servers = { { name = "a", uri = "sip:10.0.0.1" } }, check = false })
local a, never = pbx:server "a", function() end
local ns, shared = sip.netset { "10.0.0.0/8" }, sip.shared "x"
local plain, labelled = sip.counter("x", "help"), sip.counter("y", "help", { l = "text" })
local firsts = table.pack("X", 200, 5, a, pbx, { a }, "OPTIONS", "sip:bob@10.0.0.1", never, shared)
local values = table.pack(nil, true, false, -1, 0, 1.5, 1e300, 0 / 0, math.huge, "", "x",
  "a\r\nb", ("x"):rep(70000), "sip:bob@example.com", never, a, pbx, shared, {}, { 1 }, { "x" },
  { {} }, { x = 1 }, { true }, { { uri = "x" } }, { { uri = {} } }, { uri = {} },
  { uri = "sip:x@10.0.0.1", path = "x" }, { uri = "sip:x@10.0.0.1\r\n" }, { timeout = 1e300 },
  { timeout = -1 }, { timeout = "x" }, { ring_timeout = 1e300 }, { progress_timeout = 1e300 },
  { last_timeout = 1e300 }, { budget = 1e300 }, { attempts = 1e18 }, { retransmits = 1.5 },
  { resources = { x = 1e300 } }, { key = {} }, { on_response = 1 }, { keep_503 = 1 },
  { body = {} }, { headers = { {} } }, { headers = { X = "a\r\nb" } },
  { headers = { ["a b"] = "c" } }, { method = "X Y", uri = "sip:x@10.0.0.1" },
  { method = "OPTIONS", uri = "sip:x@10.0.0.1" },
  { method = "OPTIONS", uri = "sip:x@10.0.0.1", timeout = 1e300 })
local function try_all(where, call, pause)
  local refused, found = 0, {}
  local function try(...)
    local ok, err = pcall(call, ...)
    refused = refused + (ok and 0 or 1)
    if not ok and err:sub(1, #where) ~= where then
      found[#found + 1] = err:sub(1, 200)
    end
  end
  for k = 1, values.n do
    pause(0.001) -- an entry may not be as long as that
    try(values[k])
    for i = 1, firsts.n do
      try(firsts[i], values[k])
      try(firsts[i], "y", values[k])
    end
  end
  return refused > 0 and table.concat(found, "\n") or "never refused"
end
]]

local in_handler = [[
sip.route(function(req)
  local res = req:try(a)
  sip.log.info("found: " .. try_all(WHERE, function(...) local _ = ...
    CALL
  end, sip.sleep))
  local _ = res
end)
]]

local at_load = [[
error("found: " .. try_all(WHERE, function(...) local _ = ...
  CALL
end, never), 0)
]]

local function script(body, call)
  local source = frame .. body
  local _, before = source:sub(1, source:find("CALL\n", 1, true)):gsub("\n", "")
  return (source:gsub("WHERE", ("'script.lua:%d: '"):format(before + 1))
    :gsub("CALL\n", function() return call .. "\n" end))
end

local request_calls = {
  "req:header(...)", "req:headers(...)", "req:set_header(...)", "req:add_header(...)",
  "req:del_header(...)", "req:reply(...)", "req:drop(...)", "req:try(...)", "req:fork(...)",
  "req:relay(...)", "req.uri = ...", "req.ruri.user = ...", "req.ruri.host = ...",
  "req.ruri.port = ...", "req.body = ...", "req[...] = 1", "_ = req[...]", "_ = req.ruri[...]",
  "res:header(...)", "res:set_header(...)", "res:add_header(...)", "res:del_header(...)",
  "res:forward(...)", "res:request(...)", "_ = res[...]",
  "pbx:each(...)", "pbx:each(req, ...)", "pbx:pick(...)", "pbx:pick(req, ...)",
  "req.header(...)", "req.try(...)", "req.fork(...)", "req.relay(...)",
  "req.relay_dialog(...)", "req.reply(...)", "req.drop(...)", "req.age(...)",
  "res.forward(...)", "res.request(...)", "res.header(...)",
}

local other_calls = {
  "pbx:failback(...)", "_ = pbx[...]", "pbx[...] = 1", "a:hold(...)", "a:drain(...)",
  "a:maint(...)", "a:ready(...)", "a:mark_up(...)", "a:mark_down(...)", "_ = a[...]",
  "ns:has(...)", "shared:get(...)", "shared:set(...)", "shared:incr(...)", "plain:add(...)",
  "labelled:add(...)", "_ = sip[...]", "sip.every(...)", "sip.after(...)", "sip.spawn(...)",
  "sip.request(...)", "sip.resolve(...)", "sip.log.info(...)", "sip.pool(...)", "sip.on(...)",
  "sip.settings(...)", "sip.listen(...)", "sip.netset(...)", "sip.data(...)",
  "sip.self_test(...)", "sip.route(...)", "sip.sleep(...)", "sip.shared(...)",
  "sip.counter(...)", "pbx.each(...)", "a.hold(...)", "ns.has(...)", "shared.get(...)",
  "plain.add(...)",
}

local function check_in_handler(call)
  local w = policy.world { source = script(in_handler, call) }
  w.alice:call "sip:bob@example.com"
  w.net:run(30000) -- sip.sleep does what it is told
  local said = w.said()
  assert.equal("found: ", said[#said])
end

describe("misuse names the line of the script", function()
  for _, call in ipairs(request_calls) do
    it("in a handler: " .. call, function() check_in_handler(call) end)
  end

  for _, call in ipairs(other_calls) do
    it("in a handler: " .. call, function() check_in_handler(call) end)
    it("at load: " .. call, function()
      assert.equal("found: ", policy.load_error(script(at_load, call)))
    end)
  end

  it("and what is wrong", function()
    local wrong = {
      ["req:try(a, { timeout = 1e300 })"] =
        "req:try: timeout: at most 1000000000 expected, got 1e+300",
      ["req.try(a)"] = "req:try(...): call it with a colon",
      ["res.forward {}"] = "res:forward(...): call it with a colon",
      ["pbx:each(1)"] = "pool:each: a request expected, got number",
      ["pbx:pick(res)"] = "bad argument #1 (tandem.Request expected, got userdata)",
      ["sip.sleep(-1)"] = "sleep: a number of seconds expected, got -1.0",
    }
    for call, message in pairs(wrong) do
      local source = ("%slocal res\nsip.route(function(req)\nres = req:try(a)\n%s\nend)\n")
        :format(frame, call)
      local w = policy.world { source = source }
      w.alice:call "sip:bob@example.com"
      local _, line = source:sub(1, source:find(call, 1, true)):gsub("\n", "")
      assert.equal(("script.lua:%d: %s"):format(line + 1, message), policy.failure(w.net).error)
    end
  end)
end)
