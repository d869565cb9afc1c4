-- What becomes of numbers, as seen on the wire.
local sim = require "tandem.sim"

describe("examples/number.lua", function()
  local net, pbx, carrier

  before_each(function()
    net = sim.new { script = "examples/number.lua" }
    pbx, carrier = net:uas("10.0.0.1", "pbx"), net:uas("203.0.113.10", "carrier")
    net:run(5)
  end)

  after_each(function() net:finish() end)

  -- A call of `from` to a number: the answer, the called number and the caller's as
  -- they came to the other side.
  local function dial(from, number, caller)
    local call = from:call(("sip:%s@example.com"):format(number), {
      from = ("sip:%s@example.com"):format(caller or "123"),
    })
    local invites = (from == pbx and carrier or pbx):got "INVITE"
    local invite = invites[#invites]
    local identity = invite and invite:header "P-Asserted-Identity"
    return call.code, invite and invite.uri, identity and identity:match "sip:(.-)@"
  end

  for _, case in ipairs {
    { "02079460999", "+442079460999" },
    { "01614960000", "+441614960000" },
    { "004930231250", "+4930231250" },
    { "79460111", "+442079460111" },
    { "112", "112" },
    { "999", "999" },
  } do
    local number, e164 = table.unpack(case)
    it("sends " .. number .. " to the carrier as " .. e164, function()
      assert.same({ 200, "sip:" .. e164 .. "@203.0.113.10", "+442079460123" },
        { dial(pbx, number) })
    end)
  end

  for _, number in ipairs { "123", "0", "000", "+442079460999", "9990", "0161abc", "%30%30" } do
    it("refuses " .. number .. ", which no rule covers", function()
      assert.same({ 404 }, { dial(pbx, number) })
    end)
  end

  it("shows the main number for callers that are no extension", function()
    assert.equal("+442079460000", select(3, dial(pbx, "112", "reception")))
  end)

  it("lets nobody bring an identity of their own", function()
    pbx:call("sip:112@example.com", {
      headers = { ["P-Asserted-Identity"] = "<sip:+15550100@example.com>" },
    })
    assert.same({ "<sip:+442079460000@203.0.113.10>" },
      carrier:got("INVITE")[1]:all "P-Asserted-Identity")
  end)

  it("brings calls for our numbers to their extension, the host as it was", function()
    assert.same({ 200, "sip:123@example.com", "01614960000" },
      { dial(carrier, "+442079460123", "+441614960000") })
  end)

  it("shows the PBX a caller's number as it would dial it", function()
    assert.equal("004930231250", select(3, dial(carrier, "+442079460123", "+4930231250")))
    assert.equal("anonymous", select(3, dial(carrier, "+442079460124", "anonymous")))
  end)

  it("refuses calls for numbers that are not ours", function()
    assert.same({ 404 }, { dial(carrier, "+441614960000", "+4930231250") })
  end)

  it("is no way for strangers", function()
    local call = net:uac("192.0.2.7"):call "sip:112@example.com"
    assert.equal(403, call.code)
    assert.same({}, carrier:got "INVITE")
  end)

  it("lets either side hang up", function()
    local call = pbx:call("sip:112@example.com", { from = "sip:123@example.com" })
    assert.equal(200, carrier:bye(call):wait().code)
    call = carrier:call("sip:+442079460123@example.com", { from = "sip:+4930231250@example.com" })
    assert.equal(200, carrier:bye(call):wait().code)
  end)
end)
