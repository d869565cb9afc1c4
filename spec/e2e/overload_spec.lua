-- More than can be done, over real sockets: what the kernel has kept while nobody read it is
-- seen to be late.
local ctl_of = require "support.ctl"
local http = require "support.http"
local process = require "support.process"
local proxy = require "support.proxy"
local sockets = require "support.sockets"

-- Each call takes some milliseconds of a script, on any machine, and is over at once.
local source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}", "tcp:127.0.0.1:%{port}" }
sip.settings { overload = %{overload} }
sip.route("INVITE", function(req)
  local n = 0
  for i = 1, 600000 do n = n + i % 7 end
  return req:reply(486, n > 0 and "Busy" or "Never")
end)
]]

local calls = 400

local function invite(transport, port, i)
  return table.concat({
    "INVITE sip:bob@example.com SIP/2.0",
    ("Via: SIP/2.0/%s 127.0.0.1:%d;branch=z9hG4bKc%d"):format(transport, port, i),
    "From: <sip:alice@example.com>;tag=" .. i, "To: <sip:bob@example.com>",
    "Call-ID: crowd" .. i, "CSeq: 1 INVITE", "Max-Forwards: 70",
    ("Contact: <sip:alice@127.0.0.1:%d>"):format(port), "Content-Length: 0", "", "",
  }, "\r\n")
end

-- The sum of a metric with all its labels.
local function metric(ctl, name)
  local _, page = http.ask(ctl, "/metrics")
  local total = 0
  for value in page:gmatch("\n" .. name .. "[^ \n]* (%d+)") do
    total = total + tonumber(value)
  end
  return total
end

for _, workers in ipairs { 1, 2 } do
  describe(("an overload, %d worker%s"):format(workers, workers > 1 and "s" or ""), function()
    local port, ctl, tandem

    before_each(function()
      port = process.ports(1)
      ctl = process.path "ctl.sock"
    end)
    after_each(function()
      sockets.close()
      process.clean()
    end)

    local function start(overload)
      tandem = proxy.start { source = source, workers = workers, level = "info",
        values = { port = port, overload = overload }, args = { "--ctl", ctl } }
    end

    -- All calls at once, while it is stopped. What comes back, until `enough(codes)`: how
    -- many calls got which code.
    local function crowd(transport, enough)
      local socket = transport == "UDP" and sockets.udp() or sockets.tcp(port)
      local codes, seen = { [486] = 0, [503] = 0 }, {}
      local function is_enough(text)
        for code, id in text:gmatch "SIP/2.0 ([4-6]%d%d).-\r\nCall%-ID: (%w+)\r" do
          code = tonumber(code)
          codes[code] = (codes[code] or 0) + (seen[id] and 0 or 1)
          seen[id] = true -- over UDP 486 is repeated until its ACK
        end
        return enough(codes)
      end
      tandem:signal "STOP"
      for i = 1, calls do
        local text = invite(transport, socket.port or 9, i)
        if transport == "UDP" then
          socket:send(port, text)
        else
          socket:send(text)
        end
      end
      process.sleep(0.2) -- longer than they may wait, and less than T1
      tandem:signal "CONT"
      if transport == "UDP" then
        socket:wait(is_enough, 30)
      else
        socket:read(is_enough, 30)
      end
      return codes
    end

    local function are_all(codes)
      return codes[486] + codes[503] == calls
    end

    for _, transport in ipairs { "UDP", "TCP" } do
      it("is refused over " .. transport .. " when its queue does not go away", function()
        start "{ retry_after = 1 }"
        local codes = crowd(transport, transport == "TCP" and are_all or function(codes)
          return codes[486] > 0 and codes[503] > 0
        end)
        assert.is_true(codes[486] > 0)
        assert.is_true(codes[503] > 0)
        if transport == "TCP" then
          assert.is_true(are_all(codes))
        end
        assert.is_true(metric(ctl, "tandem_overload_shed_total") > 0)
        local _, status = http.ask(ctl, "/v1/status")
        assert.is_true(status.overloaded >= 1)
        assert.matches("too much comes: new requests are answered 503 by %d of %d worker",
          select(2, ctl_of.new(ctl) "status"))
        assert.is_true(#tandem:logged "overload.begin" >= 1)
        assert.equal("delay", tandem:logged("overload.begin")[1].reason)
        assert.is_true(tandem:logged("overload.begin")[1].delay + 0 > 0.05)
      end)
    end

    it("is not there when the script says so", function()
      start "false"
      local codes = crowd("TCP", are_all)
      assert.equal(calls, codes[486])
      assert.equal(0, codes[503])
      assert.equal(0, metric(ctl, "tandem_overload_shed_total"))
    end)
  end)
end

local refuses = [[
local sip = require "tandem"
sip.listen { "udp:%{address}:%{port}" }
sip.settings { overload = false, udp = %{udp} }
sip.route(function(req) return req:reply(480) end)
]]

describe("answers of one length to one peer", function()
  local port, ctl, tandem, socket

  before_each(function()
    port, ctl = process.ports(1), process.path "ctl.sock"
  end)
  after_each(function()
    sockets.close()
    process.clean()
  end)

  local function start(values, workers)
    values.port = port
    tandem = proxy.start { source = refuses, workers = workers, values = values,
      args = { "--ctl", ctl } }
    socket = sockets.udp()
  end

  local function message(i)
    return table.concat({
      "MESSAGE sip:bob@example.com SIP/2.0",
      ("Via: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bKm%d"):format(socket.port, i),
      "From: <sip:alice@example.com>;tag=" .. i, "To: <sip:bob@example.com>",
      "Call-ID: joined" .. i, "CSeq: 1 MESSAGE", "Max-Forwards: 70", "Content-Length: 0", "", "",
    }, "\r\n")
  end

  -- These messages, which it finds when it goes on: each is answered by a datagram.
  local function ask(first, last)
    local got = {}
    tandem:signal "STOP"
    for i = first, last do
      socket:send(port, message(i))
    end
    tandem:signal "CONT"
    for _ = first, last do
      local text, from = socket:receive(10)
      local i = assert(text):match "^SIP/2.0 480 [^\n]*\r\n.*\r\nCall%-ID: joined(%d+)\r\n"
      assert.equal(port, from)
      assert.equal(1, select(2, text:gsub("SIP/2.0 480", "")), text)
      assert.is_nil(got[i])
      got[i] = true
    end
    assert.is_nil(socket:receive(0))
  end

  -- How many left with others. It is counted every few seconds.
  local function joined(least)
    process.eventually(20, function()
      return metric(ctl, "tandem_udp_joined_total") >= least
    end)
    return metric(ctl, "tandem_udp_joined_total")
  end

  for _, address in ipairs { "127.0.0.1", "0.0.0.0" } do
    it("leave together, and each arrives as a datagram, from " .. address, function()
      start { address = address, udp = "{}" }
      ask(100, 199)
      local n = joined(90)
      assert.is_true(n >= 90 and n <= 100, n)
    end)
  end

  for _, workers in ipairs { 1, 2 } do
    it(("leave one by one while the script says so, %d workers"):format(workers), function()
      local values = { address = "127.0.0.1", udp = "{ gso = false }" }
      local function reload(udp)
        values.udp = udp
        process.write("proxy.lua", process.fill(refuses, values))
        assert.equal(200, (http.ask(ctl, "/v1/reload", { method = "POST" })))
      end
      -- Many of which none is to be counted, and few that are: what is counted late, a
      -- worker at a time, does not hide it.
      local function ask_alone(first)
        ask(first, first + 99)
        ask(first + 100, first + 199)
      end
      start(values, workers)
      ask_alone(1000)
      reload "nil"
      ask(2001, 2040)
      local n = joined(20)
      assert.is_true(n >= 20 and n <= 40, n)
      reload "{ gso = false }"
      ask_alone(3000)
      reload "{ gso = true }"
      ask(4001, 4040)
      n = joined(41)
      assert.is_true(n > 40 and n <= 80, n)
    end)
  end
end)
