-- A phone that somebody else wrote: baresip, which registers, takes every call, and is
-- told what to do over its control port.
--
--   local phone = phone.start { user = "alice", transport = "tls", proxy = "127.0.0.1:5061",
--     ca = ca }
--   phone:await_registered()
--   phone:tell "hangup"
local process = require "support.process"
local sh = require "support.sh"
local error, setmetatable, string = error, setmetatable, string

local _ENV = nil

local phone = {}
local Phone = {}
Phone.__index = function(_, key)
  return Phone[key] or process.Process[key]
end

local modules = "/usr/lib/baresip/modules"

local config = [[
poll_method epoll
sip_listen %{host}:%{port}
sip_cafile %{ca}
module_path %{modules}
module g711.so
module aufile.so
module_app account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:%{control}
audio_source aufile,%{sound}
audio_player aufile,%{heard}
]]

local account = [[
<sip:%{user}@example.net;transport=%{transport}>;regint=60;answermode=auto;]]
  .. [[audio_codecs=PCMU;outbound="sip:%{proxy};transport=%{transport};lr"
]]

-- A second of silence, 8 kHz.
local function silence()
  local samples = string.rep("\0", 16000)
  return "RIFF" .. string.pack("<I4", 36 + #samples) .. "WAVEfmt "
    .. string.pack("<I4I2I2I4I4I2I2", 16, 1, 1, 8000, 16000, 2, 16)
    .. "data" .. string.pack("<I4", #samples) .. samples
end

-- Options: user, transport, proxy ("host:port"), host (127.0.0.1), ca (of
-- support.certs: who vouches for the proxy).
function phone.start(options)
  local name = "phone_" .. options.user
  local port, control = process.ports(2)
  local values = {
    host = options.host or "127.0.0.1", port = port, control = control, modules = modules,
    user = options.user, transport = options.transport, proxy = options.proxy,
    ca = options.ca and options.ca.cert or "/dev/null",
    heard = process.path(name .. ".heard.wav"),
  }
  sh.run("mkdir -p " .. process.path(name))
  values.sound = process.write(name .. "/silence.wav", silence())
  process.write(name .. "/config", process.fill(config, values))
  process.write(name .. "/accounts", process.fill(account, values))
  local self = process.start {
    name = name, argv = { "baresip", "-s", "-f", process.path(name) }, log = name .. ".log",
  }
  self.control = control
  return setmetatable(self, Phone)
end

function Phone:await_registered()
  return process.eventually(10, function()
    return string.find(self:output(), "200 OK", 1, true)
  end) or error(self.name .. " is not registered:\n" .. self:output(), 2)
end

-- "hangup", "dial" with a URI, ...: as typed on its console.
function Phone:tell(name, parameter)
  local json = string.format('{"command":"%s","params":"%s"}', name, parameter or "")
  local ok, output = sh.run(string.format(
    "bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d; printf %%s %s >&3; timeout 0.2 cat <&3'",
    self.control, sh.quote(#json .. ":" .. json .. ",")))
  return ok or output
end

return phone
