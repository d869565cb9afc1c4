-- Reloading the program that users run, under load and by its data files.
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
        name = name, port = at, quiet = options.quiet, limit = 50, values = { ring = 100 },
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

  it("again and again under load: no call fails, nothing stays", function()
    -- What checks leave behind for a while would hide what reloads do.
    start { binary = "build/tandem", level = "info", limit = 60, quiet = true, check = "false" }
    local before = tandem:stats()
    local load = sipp.start("call", {
      proxy = "127.0.0.1:" .. port, calls = 1000, rate = 100, quiet = true, limit = 40,
      values = { hold = 300 }, args = { "-l", "500" },
    })
    for i = 1, 40 do
      process.sleep(0.2)
      if i % 8 == 0 then
        rename_over(servers { { "a", a }, { "b", b }, { "c" .. i, 9 } })
      else
        tandem:signal "HUP"
      end
    end
    load:succeed()
    local s = load:statistics()
    local reloads, refused = #tandem:logged "reload", #tandem:logged "config.rejected"
    io.write(("\n%s calls, %s failed, %s retransmissions; %d reloads, %d refused\n")
      :format(s["SuccessfulCall(C)"], s["FailedCall(C)"], s["Retransmissions(C)"], reloads,
        refused))
    assert.equal(1000, tonumber(s["SuccessfulCall(C)"]))
    assert.equal(0, tonumber(s["FailedCall(C)"]))
    assert.is_true(reloads >= 20)
    for _, event in ipairs(tandem:logged "config.rejected") do
      assert.matches("8 earlier generations", event.reason)
    end
    rename_over(servers { { "a", a }, { "b", b } })
    local after
    process.eventually(15, function()
      process.sleep(0.5)
      after = tandem:stats()
      return after.requests == 0 and after.clients == 0 and after.bytes <= before.bytes
    end)
    for _, name in ipairs { "requests", "servers", "clients", "bytes" } do
      assert.is_true(after[name] <= before[name], name .. " " .. after[name])
    end
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
