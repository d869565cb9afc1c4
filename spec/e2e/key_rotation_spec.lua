-- The key of the program that users run is replaced while calls are up, as
-- docs/how-to/rotate-the-cluster-key.md says.
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
sip.settings { key_file = "%{key}" }
local pbx = sip.pool("pbx", { servers = { { name = "a", uri = "sip:127.0.0.1:%{server}" } },
  check = false })
sip.route(function(req) return req:relay(pbx) end)
]]

local old, new = ("0a"):rep(16), ("b1"):rep(16)

describe("the key file", function()
  local tandem, port, server, ctl

  -- As the how-to does it.
  local function write(...)
    local next_file = process.write("key.next", table.concat({ ... }, "\n") .. "\n")
    sh.run("chmod 400 " .. next_file)
    assert(os.rename(next_file, process.path "key"))
  end

  before_each(function()
    port, server = process.ports(2)
    ctl = process.path "ctl.sock"
    write(old)
    tandem = proxy.start { source = source, args = { "--ctl", ctl }, values = {
      port = port, server = server, key = process.path "key",
    } }
  end)
  after_each(process.clean)

  local function key()
    return select(2, http.ask(ctl, "/v1/status")).key
  end

  local function metric(name)
    local _, text = http.ask(ctl, "/metrics")
    return tonumber(text:match("\n" .. name .. " (%d+)"))
  end

  local function reload()
    return http.ask(ctl, "/v1/reload", { method = "POST" })
  end

  it("is read again by a reload, step by step, and no call notices", function()
    local before = key()
    assert.equal("file", before.origin)
    assert.is_nil(before.verifies)
    sipp.server("answer", { port = server, quiet = true, values = { ring = 20 }, limit = 40 })
    local calls = sipp.start("call", { proxy = "127.0.0.1:" .. port, calls = 120, rate = 20,
      quiet = true, limit = 40, values = { hold = 1500 } })
    -- A phone's call that is up from the beginning until the old key has gone would fail:
    -- those of 1.5 s that began before the swap have ended 2 s later.
    process.sleep(1)
    write(old, new)
    assert.equal(200, (reload()))
    local added = key()
    assert.same({ before.signs, 8 }, { added.signs, #added.verifies })
    process.sleep(1)
    write(new, old)
    tandem:signal "HUP"
    process.eventually(5, function() return key().signs == added.verifies end)
    assert.same({ origin = "file", signs = added.verifies, verifies = before.signs }, key())
    process.sleep(2.5)
    write(new)
    assert.equal(200, (reload()))
    assert.same({ origin = "file", signs = added.verifies }, key())
    calls:succeed()
    assert.equal(0, metric "tandem_bad_cookies_total")
    assert.equal(3, #tandem:logged "key.changed")
    assert.same({}, tandem:logged "key.dropped")
    for _, secret in ipairs { old, new } do
      assert.falsy(tandem:output():find(secret, 1, true))
    end
  end)

  it("that is wrong refuses the reload, with its line, and nothing has changed", function()
    local before = key()
    write(old, new, ("c2"):rep(16))
    local status, answer = reload()
    assert.equal(422, status)
    assert.equal(("the key file %s: line 3 is one key too many: there are at most two")
      :format(process.path "key"), answer.error)
    assert.equal(answer.error, tandem:wait_logged "config.rejected".reason)
    assert.same(before, key())
    assert.equal(1, #tandem:logged "start")
    sh.run("rm " .. process.path "key")
    status, answer = reload()
    assert.equal(422, status)
    assert.matches("cannot read the key file", answer.error, 1, true)
    write(old, new)
    assert.equal(200, (reload()))
    assert.equal(before.signs, key().signs)
  end)

  it("that others may read is refused by a reload, too", function()
    write(old, new)
    sh.run("chmod 444 " .. process.path "key")
    local status, answer = reload()
    assert.equal(422, status)
    assert.matches("may be read by others", answer.error, 1, true)
  end)

  it("that has lost the key which signed is taken, with a warning", function()
    local before = key()
    write(new)
    assert.equal(200, (reload()))
    local line = tandem:wait_logged "key.dropped"
    assert.equal("warn", line.level)
    assert.equal(before.signs, line.key)
    assert.equal(key().signs, tandem:logged("key.changed")[1].signs)
    assert.is_nil(tandem:logged("key.changed")[1].verifies)
  end)

  it("that has not changed is no news", function()
    assert.equal(200, (reload()))
    write("# with a word about it", "", old)
    assert.equal(200, (reload()))
    assert.same({}, tandem:logged "key.changed")
  end)
end)
