-- Reloading the program that users run, under load and by its data files.
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.settings { timers = { t1 = 0.1 } }
local pbx = sip.pool("pbx", { servers = sip.data "servers.json", check = %{check} })
sip.route(function(req)
  if not req:relay(pbx, { timeout = 2 }) then return req:reply(500) end
end)
]]

local function servers(list)
  local parts = {}
  for i, server in ipairs(list) do
    parts[i] = ('{ "name": "%s", "uri": "sip:127.0.0.1:%d", "tier": %d }')
      :format(server[1], server[2], i)
  end
  return "[" .. table.concat(parts, ",") .. "]"
end

describe("a reload", function()
  local port, a, b, tandem

  -- As an editor or a deployment tool does: the new file in place of the old one.
  local function rename_over(text)
    local new = process.write("servers.new", text)
    assert(os.rename(new, process.path "servers.json"))
  end

  before_each(function()
    port, a, b = process.ports(3)
    process.write("servers.json", servers { { "a", a }, { "b", b } })
  end)
  after_each(process.clean)

  local function start(options)
    options = options or {}
    options.source = source
    options.values = { port = port, check = options.check or "{ interval = 1, timeout = 0.5 }" }
    tandem = proxy.start(options)
    for name, at in pairs { a = a, b = b } do
      sipp.server(options.scenario or "answer", {
        name = name, port = at, quiet = options.quiet, limit = options.limit or 50,
        values = { ring = 100 },
      })
    end
  end

  -- Who a call went to. Its line comes a moment after the caller has hung up.
  local function call()
    local before = #tandem:logged("request", { method = "INVITE" })
    sipp.call("call", { proxy = "127.0.0.1:" .. port, values = { hold = 0 } })
    local line = process.eventually(3, function()
      local list = tandem:logged("request", { method = "INVITE" })
      return #list > before and list[#list]
    end)
    return line.tried
  end

  -- Kilobytes.
  local function resident()
    local text = process.read(("/proc/%d/status"):format(tandem:pid()))
    return tonumber(text:match "VmRSS:%s+(%d+)")
  end

  -- The numbers of the whole thing are those of spec/bench/reload.
  local function number(name, default)
    return tonumber(os.getenv(name) or default)
  end

  it("again and again under load, with mistakes: no call fails, nothing stays", function()
    local reloads, rate, seconds =
      number("RELOADS", 30), number("RATE", 100), number("DURATION", 8)
    local calls, ctl = rate * (seconds + 1), process.path "ctl.sock"
    -- What checks leave behind for a while would hide what reloads do.
    start {
      binary = "build/tandem", level = "info", limit = seconds + 60, quiet = true,
      check = "false", args = { "--ctl", ctl },
    }
    local script = process.read(process.path "proxy.lua")
    local load = sipp.start("call", {
      proxy = "127.0.0.1:" .. port, calls = calls, rate = rate, quiet = true,
      limit = seconds + 30, values = { hold = 300 }, args = { "-l", "500" },
    })
    local function reload()
      return http.ask(ctl, "/v1/reload", { method = "POST" })
    end
    reload() -- two of them in memory, as ever from now on
    local before, size = tandem:stats(), nil
    local function status()
      return select(2, http.ask(ctl, "/v1/status"))
    end
    local accepted, refused, busy, began = 0, 0, 0, status().now
    for i = 1, reloads do
      process.sleep(math.max(began + i * seconds / reloads - status().now, 0))
      local is_broken = i % 5 == 0
      process.write("proxy.lua", script .. (is_broken and "sip.nothing()\n" or ""))
      if i % 8 == 0 then
        rename_over(servers { { "a", a }, { "b", b }, { "c" .. i, 9 } })
      end
      local generation = status().generation
      local code, value = reload()
      accepted = accepted + (code == 200 and 1 or 0)
      refused = refused + (code == 422 and 1 or 0)
      busy = busy + (code == 409 and 1 or 0)
      if is_broken then
        assert.same({ 422, 8 }, { code, value.line })
        assert.matches("proxy.lua:8: tandem has no 'nothing'", value.error, 1, true)
        assert.is_true(value.generation - generation <= 1) -- a file may have changed
      end
      size = size or (i >= reloads / 2 and resident() or nil)
    end
    process.write("proxy.lua", script)
    load:succeed()
    local s, size_after = load:statistics(), resident()
    io.write(("\n%s calls, %s failed, %s retransmissions; %d reloads, %d refused, %d put off; "
      .. "resident %d kB halfway, %d kB at the end (%+.1f %%)\n")
      :format(s["SuccessfulCall(C)"], s["FailedCall(C)"], s["Retransmissions(C)"], accepted,
        refused, busy, size, size_after, (size_after / size - 1) * 100))
    assert.equal(calls, tonumber(s["SuccessfulCall(C)"]))
    assert.equal(0, tonumber(s["FailedCall(C)"]))
    assert.equal(reloads // 5, refused)
    assert.is_true(accepted >= reloads * 0.7)
    -- Before that, what is kept for a while (transactions, traces) makes it grow.
    assert.is_true(reloads < 100 or size_after < 1.05 * size, "it grows")
    for _, event in ipairs(tandem:logged "config.rejected") do
      assert.is_true(event.reason:find "8 earlier generations" ~= nil
        or event.reason:find "has no 'nothing'" ~= nil, event.reason)
    end
    rename_over(servers { { "a", a }, { "b", b } })
    local after
    process.eventually(15, function()
      process.sleep(0.5)
      after = tandem:stats()
      return after.requests == 0 and after.clients == 0 and after.bytes <= before.bytes
    end)
    for _, name in ipairs { "requests", "clients" } do
      assert.equal(0, after[name], name)
    end
    assert.is_true(after.bytes <= before.bytes, after.bytes .. " bytes, " .. before.bytes)
  end)

  it("comes with a data file that was replaced", function()
    start()
    assert.matches("^pbx/a:200:", call())
    rename_over(servers { { "b", b } })
    local event = tandem:wait_logged("reload", { removed = "pbx/a" }, 5)
    assert.equal(2, event.generation)
    assert.matches("^pbx/b:200:", call())
  end)

  it("and with one that was written in place, removed and made again", function()
    start()
    process.write("servers.json", servers { { "b", b } })
    tandem:wait_logged("reload", { generation = 2 }, 5)
    os.remove(process.path "servers.json")
    tandem:wait_logged("config.rejected", nil, 5)
    assert.matches("^pbx/b:200:", call())
    process.write("servers.json", servers { { "a", a } })
    tandem:wait_logged("reload", { generation = 3 }, 5)
    assert.matches("^pbx/a:200:", call())
  end)

  it("sees a file behind a symbolic link that was turned", function()
    local dir = process.path "."
    process.write("one.json", servers { { "a", a } })
    process.write("two.json", servers { { "b", b } })
    sh.run(("cd %s && ln -sf one.json current && ln -sf current servers.json"):format(dir))
    start()
    sh.run(("cd %s && ln -s two.json new && mv -T new current"):format(dir))
    tandem:wait_logged("reload", { added = "pbx/b", removed = "pbx/a" }, 5)
    assert.matches("^pbx/b:200:", call())
  end)

  it("with a broken file is refused with the reason, and calls go on", function()
    start()
    rename_over '[ { "name": "a" '
    local event = tandem:wait_logged("config.rejected", nil, 5)
    assert.matches("proxy.lua:4: sip.data: servers.json: ", event.reason)
    assert.matches("^pbx/a:200:", call())
  end)

  it("that takes a server away in mid-call: its BYE still gets there", function()
    start()
    local held = sipp.start("call", {
      name = "held", proxy = "127.0.0.1:" .. port, limit = 20, values = { hold = 4000 } })
    assert.truthy(process.eventually(5, function() return held:count "200 INVITE" == 1 end))
    rename_over(servers { { "b", b } })
    tandem:wait_logged("reload", { removed = "pbx/a" }, 5)
    assert.matches("^pbx/b:200:", call())
    held:succeed()
    assert.equal(1, held:count "200 BYE")
  end)

  it("of a script that loads for ever does not keep the process from ending", function()
    start()
    local path = process.path "proxy.lua"
    process.write("proxy.lua", process.read(path) .. "\nwhile true do end\n")
    tandem:signal "HUP"
    tandem:wait_logged "reload.begin"
    process.sleep(0.5)
    assert.matches("^pbx/a:200:", call())
  end)
end)
