-- A caller without a phone: places one call through the proxy, hangs up after a
-- moment, and says in its log what came of it.
local sip = require "tandem"

sip.listen { "udp:127.0.0.1:5093" }

local offer = table.concat({
  "v=0", "o=caller 1 1 IN IP4 127.0.0.1", "s=demo", "c=IN IP4 127.0.0.1", "t=0 0",
  "m=audio 6000 RTP/AVP 0", "",
}, "\r\n")

sip.after(0.1, function()
  local began = sip.now()
  local res, err = sip.request {
    method = "INVITE",
    uri = "sip:bob@127.0.0.1:5090",
    headers = { ["Content-Type"] = "application/sdp" },
    body = offer,
    timeout = 10,
  }
  local took = sip.now() - began
  if res and res.code == 200 then
    sip.sleep(0.2)
    res:request "BYE"
  end
  sip.log.info("call ended", {
    code = res and res.code or 0,
    contact = res and res:header "Contact" or err,
    ms = math.floor(took * 1000 + 0.5),
  })
end)
