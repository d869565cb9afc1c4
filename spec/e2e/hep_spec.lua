-- Mirrored messages at real collectors: sngrep reads them, and writes what it has
-- understood as a capture, which tshark reads; a bare socket shows the packets.
local cjson = require "cjson"
local hep = require "support.hep"
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"
local sipp = require "support.sipp"

local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}", "tcp:127.0.0.1:%{port}" }
sip.settings { trace = { hep = "udp:127.0.0.1:%{collector}", name = "edge1", %{options} } }
local pbx = sip.pool("pbx", {
  servers = { { name = "a", uri = "sip:127.0.0.1:%{server}" } }, check = false,
})
sip.route(function(req)
  if not req:relay(pbx) then return req:reply(500) end
end)
]]

describe("mirroring", function()
  local port, server, collector, tandem

  before_each(function()
    port, server, collector = process.ports(3)
  end)
  after_each(process.clean)

  local function start(options, workers)
    tandem = proxy.start { workers = workers or 1,
      source = source, level = "info", args = { "--ctl", process.path "ctl.sock" },
      values = { port = port, server = server, collector = collector, options = options or "" },
    }
    sipp.server("answer", { name = "a", port = server, values = { ring = 0 } })
  end

  local function call(options)
    options = options or {}
    options.proxy, options.values = "127.0.0.1:" .. port, { hold = 0 }
    return sipp.call("call", options)
  end

  -- A socket that keeps what it is sent.
  local function listen()
    local file = process.path "packets"
    process.start {
      name = "collector",
      argv = { "socat", "-u", "-b", "65536",
        ("UDP-RECV:%d,bind=127.0.0.1,rcvbuf=4194304"):format(collector), "CREATE:" .. file },
    }:wait_bound(collector)
    return function()
      local list, bytes, at = {}, process.read(file) or "", 1
      while at < #bytes do
        local n = string.unpack(">I2", bytes, at + 4)
        list[#list + 1] = assert(hep.read(bytes:sub(at, at + n - 1)))
        at = at + n
      end
      return list
    end
  end

  local function names(list, sip_only)
    local kept = {}
    for _, packet in ipairs(list) do
      kept[#kept + 1] = (packet.type == 1 or not sip_only) and packet or nil
    end
    return hep.names(kept)
  end

  it("is what sngrep sees of a call: every message, from whom and to whom", function()
    local pcap = process.path "seen.pcap"
    local sngrep = process.start {
      name = "sngrep", env = "TERM=dumb",
      argv = { "sngrep", "-F", "-N", "-q", "-L", "udp:127.0.0.1:" .. collector, "-O", pcap },
    }
    sngrep:wait_bound(collector)
    start()
    local caller = call()
    local client = caller:message("INVITE").text:match "Contact: <sip:alice@127.0.0.1:(%d+)>"
    local function seen()
      return sh.lines(("(tshark -r %s -d udp.port==%d,sip -Y sip -T fields -e udp.srcport "
        .. "-e udp.dstport -e sip.Method -e sip.Status-Code -e sip.Call-ID -e ip.src 2>%s)")
        :format(pcap, port, process.path "tshark.log")) or {}
    end
    assert.truthy(process.eventually(5, function()
      return #seen() >= 13
    end))
    local id = caller:message("INVITE").text:match "Call%-ID: (%S+)"
    local wanted = {}
    for line in ([=[
      client proxy INVITE -   proxy server INVITE -  server proxy - 180  proxy client - 100
      proxy client - 180      server proxy - 200     proxy client - 200
      client proxy ACK -      proxy server ACK -
      client proxy BYE -      proxy server BYE -     server proxy - 200  proxy client - 200
    ]=]):gmatch "%a+ %a+ %S+ %S+" do
      wanted[#wanted + 1] = line:gsub("%a+", { client = client, proxy = port, server = server })
    end
    local got = {}
    for i, line in ipairs(seen()) do
      local from, to, method, code, call_id, ip =
        line:match("^" .. ("([^\t]*)\t"):rep(5) .. "(.*)$")
      assert.equal(id, call_id)
      assert.equal("127.0.0.1", ip)
      got[i] = ("%s %s %s %s"):format(from, to, method == "" and "-" or method,
        code == "" and "-" or code)
    end
    assert.same(wanted, got)
  end)

  it("has the decision and the transport, in packets with the Call-ID", function()
    local packets = listen()
    start "id = 7, password = 'secret'"
    local caller = call { args = { "-t", "t1" } }
    assert.truthy(process.eventually(5, function()
      return select(2, names(packets()):gsub("why", "")) == 2
    end))
    local id = caller:message("INVITE").text:match "Call%-ID: (%S+)"
    local protocols = {}
    for _, packet in ipairs(packets()) do
      assert.equal(id, packet.correlation)
      assert.equal("edge1", packet.node)
      assert.equal("secret", packet.password)
      assert.equal(7, packet.id)
      assert.near(os.time(), packet.seconds, 30)
      local to_us = packet.to_port == port and packet.from_port or packet.to_port
      protocols[packet.protocol == 6 and "tcp" or "udp"] = true
      assert.equal(to_us == server and 17 or 6, packet.protocol)
      if packet.type == 100 then
        local line = cjson.decode(packet.payload)
        assert.equal(id, line.call_id)
        if line.event == "request" then
          assert.matches("^pbx/a:200:", line.tried)
        else
          assert.equal("request.why", line.event)
          assert.matches("received", line.steps, 1, true)
        end
      end
    end
    assert.same({ udp = true, tcp = true }, protocols)
  end)

  it("costs no call when nobody listens, and says so once for all workers", function()
    start(nil, 4)
    call { calls = 50, rate = 200 }
    assert.equal("refused", tandem:wait_logged("hep.down").reason)
    assert.equal(1, #tandem:logged "hep.down")
    assert.equal("127.0.0.1:" .. collector, tandem:logged("hep.down")[1].collector)
    assert.truthy(process.eventually(3, function()
      return #tandem:logged("request", { method = "INVITE", code = 200 }) == 50
    end))
    local _, text = http.ask(process.path "ctl.sock", "/metrics")
    local lost = tonumber(text:match 'tandem_hep_dropped_total{reason="refused"} (%d+)')
    local sent = tonumber(text:match "tandem_hep_packets_total (%d+)")
    assert(lost > 100 and sent >= 50 * 15, text)
  end)

  it("goes on when the collector is back", function()
    start()
    call { name = "before" }
    tandem:wait_logged "hep.down"
    local packets = listen()
    call { name = "after" }
    assert.truthy(process.eventually(5, function()
      return names(packets()):find("BYE 200 200 decided why", 1, true)
    end), names(packets()))
  end)
end)
