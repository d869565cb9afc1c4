-- The process: its commands, exit codes, signals, key and sockets.
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"

local build = os.getenv "BUILD" or "build/san"
local source = [[
local sip = require "tandem"
sip.listen { "udp:%{address}:%{port}" }
%{more}
sip.route(function(req) return req:reply(480, "Nobody here") end)
]]

local function script(values)
  values.address = values.address or "127.0.0.1"
  values.more = values.more or ""
  return process.write("route.lua", process.fill(source, values))
end

-- Runs it to its end; 10 s is for ever.
local function tandem(arguments)
  local _, output, status =
    sh.run(("timeout 10 %s/tandem %s --lua-dir lua"):format(build, arguments))
  return status, output
end

local function options(port, id)
  return table.concat({
    ("OPTIONS sip:x@127.0.0.1:%d SIP/2.0"):format(port),
    ("Via: SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bKhost%s"):format(id),
    "From: <sip:a@example.org>;tag=1", "To: <sip:x@example.org>",
    "Call-ID: host" .. id, "CSeq: 1 OPTIONS", "Max-Forwards: 70",
    "Content-Length: 0", "", "",
  }, "\r\n")
end

describe("tandem check", function()
  after_each(process.clean)

  it("says OK to a script that loads, and needs no port", function()
    local port = process.ports(1)
    local status, output = tandem("check -c " .. script { port = port })
    assert.equal("OK\n", output)
    assert.equal(0, status)
  end)

  it("dumps the declarations", function()
    local status, output = tandem("check --dump -c " .. script { port = 5060 })
    assert.equal(0, status)
    assert.truthy(output:find('"port":5060', 1, true), output)
  end)

  it("exits with 2 and names the line of an error", function()
    local status, output = tandem("check -c " .. script { port = 5060, more = "nonsense()" })
    assert.equal(2, status)
    assert.truthy(output:find("route.lua:3:", 1, true), output)
  end)
end)

describe("the command line", function()
  for arguments, said in pairs {
    ["--confg x"] = "did you mean --config?",
    ["rnu"] = "did you mean 'run'?",
    ["-c /nonexistent.lua"] = "No such file",
    ["-L loud"] = "error, warn, info or debug",
    ["-l tls"] = "--listen tls:",
    ["-l tls:127.0.0.1"] = "needs a certificate: write it into the script: sip.listen",
  } do
    it("refuses '" .. arguments .. "' with advice", function()
      local status, output = tandem(arguments)
      assert.equal(2, status)
      assert.truthy(output:find(said, 1, true), output)
    end)
  end

  it("explains itself", function()
    for _, arguments in ipairs { "--help", "run --help", "check -h", "-V" } do
      local status, output = tandem(arguments)
      assert.equal(0, status)
      assert.truthy(output:find("tandem", 1, true))
    end
  end)
end)

describe("tandem run", function()
  after_each(process.clean)

  local function start(values, name)
    values.address = values.address or "127.0.0.1"
    values.more = values.more or ""
    return proxy.start { source = source, values = values, name = name }
  end

  it("says where it listens, answers, and ends with 0", function()
    for _, signal in ipairs { "TERM", "INT" } do
      local port = process.ports(1)
      local p = start({ port = port }, signal)
      assert.equal("udp:127.0.0.1:" .. port, p:logged("start")[1].listen)
      local answer = process.ask(port, options(port, signal), 0.5)
      assert.truthy(answer:find("^SIP/2.0 %d%d%d "), answer)
      p:signal(signal)
      assert.equal(0, p:wait())
      assert.equal(signal, p:logged("stop")[1].by)
    end
  end)

  it("listens where -l says instead", function()
    local port, other = process.ports(2)
    local p = process.start {
      name = "tandem",
      argv = { build .. "/tandem", "-c", script { port = port }, "--lua-dir", "lua",
        "-l", "udp:127.0.0.1:" .. other },
    }
    p:wait_bound(other)
    assert.is_false(process.bound(port))
  end)

  it("answers from the address that was asked, on a wildcard listener", function()
    local port = process.ports(1)
    start { port = port, address = "0.0.0.0" }
    -- A connected socket takes only what comes from that address.
    for i, address in ipairs { "127.0.0.1", "127.0.0.5" } do
      local name = process.write("datagram", options(port, "any" .. i))
      local _, output = sh.run(("bash -c 'exec 3<>/dev/udp/%s/%d; cat %s >&3; "
        .. "timeout 0.5 cat <&3'"):format(address, port, name))
      assert.truthy(output:find("^SIP/2.0 %d%d%d "), address .. ": " .. output)
    end
  end)

  it("exits with 1 when the port is taken, and says by whom to find out", function()
    local port = process.ports(1)
    start { port = port }
    local status, output = tandem("run -c " .. script { port = port })
    assert.equal(1, status)
    assert.truthy(output:find("127.0.0.1:" .. port .. ": Address already in use", 1, true), output)
    assert.truthy(output:find("ss -lunp", 1, true), output)
  end)

  it("loads its script again on HUP", function()
    local port = process.ports(1)
    local p = start { port = port }
    p:signal "HUP"
    assert.equal(2, p:wait_logged("reload").generation)
    assert.truthy(process.ask(port, options(port, "hup"), 0.5):find "^SIP/2.0 ")
  end)

  it("makes a key in its state directory and keeps it", function()
    local dir = process.path "state"
    for i = 1, 2 do
      local more = ("sip.settings { state_dir = %q }"):format(dir)
      local p = start({ port = process.ports(1), more = more }, "proxy" .. i)
      assert.same({}, p:logged "key.temporary")
      p:signal "TERM"
      assert.equal(0, p:wait())
    end
    local _, mode = sh.run("stat -c %a " .. dir .. "/key")
    assert.equal("400\n", mode)
  end)

  it("exits with 2 when others may read its key", function()
    local key = process.write("key", ("0"):rep(32))
    sh.run("chmod 644 " .. key)
    local status, output = tandem("run -c " .. script { port = process.ports(1),
      more = ("sip.settings { key_file = %q }"):format(key) })
    assert.equal(2, status)
    assert.truthy(output:find("chmod 600", 1, true), output)
  end)

  it("warns when its key is lost with it", function()
    local p = start { port = process.ports(1) }
    assert.equal("warn", p:logged("key.temporary")[1].level)
  end)

  it("does not wait for whoever reads its log", function()
    local port = process.ports(1)
    local name = script { port = port, more = [[
sip.every(0.01, function() for _ = 1, 200 do sip.log.info(("x"):rep(200)) end end)]] }
    -- The reader of the pipe sleeps: after 64 kB nothing moves.
    local p = process.start {
      name = "tandem",
      argv = { "sh", "-c", ("%s/tandem -c %s --lua-dir lua 2>&1 | sleep 20"):format(build, name) },
    }
    p:wait_bound(port)
    process.sleep(0.5)
    assert.truthy(process.ask(port, options(port, "log"), 0.5):find "^SIP/2.0 ")
  end)
end)
