-- Completion of the command line in bash, as a user at a prompt gets it.
local process = require "support.process"
local proxy = require "support.proxy"
local sh = require "support.sh"

local build = os.getenv "BUILD" or "build/san"

local script = [[
. dist/bash-completion/tandem
line=$1 last=${1##* }
read -ra COMP_WORDS <<<"$line"
[ -n "$last" ] || COMP_WORDS+=("")
COMP_WORDS[0]=$2
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_tandem
printf '%s\n' "${COMPREPLY[@]}" | sort -u | paste -sd' '
]]

describe("completion in bash", function()
  local sock

  before_each(function()
    local port, a = process.ports(2)
    sock = process.path "ctl.sock"
    proxy.start {
      source = [[
local sip = require "tandem"
sip.listen { "udp:127.0.0.1:%{port}" }
for _, name in ipairs { "pbx", "gw-1" } do
  local pool = sip.pool(name, { check = false, servers = {
    { name = "a", uri = "sip:127.0.0.1:%{a}" }, { name = "b.c", uri = "sip:127.0.0.1:%{a}" } } })
  sip.on("start", function() pool:server "b.c":mark_down "the spec: not usable" end)
end
]], values = { port = port, a = a }, args = { "--ctl", sock },
    }
    process.write("complete", script)
  end)
  after_each(process.clean)

  it("offers what can follow", function()
    local servers = "gw-1/a gw-1/b.c pbx/a pbx/b.c"
    for line, wanted in pairs {
      ["tandem c"] = "check ctl", ["tandem h"] = "help", ["tandem check --st"] = "--strict",
      ["tandem --vers"] = "--version", ["tandem ctl st"] = "status stop",
      ["tandem ctl server dr"] = "drain", ["tandem ctl pool "] = "failback",
      ["tandem ctl overrides "] = "clear", ["tandem ctl servers "] = "gw-1 pbx",
      ["tandem ctl server drain "] = servers, ["tandem ctl server drain pbx/"] = "pbx/a pbx/b.c",
      ["tandem ctl overrides clear g"] = "gw-1/a gw-1/b.c",
      ["tandem ctl pool failback p"] = "pbx pbx/a pbx/b.c",
      ["tandem ctl server add "] = "gw-1/ pbx/", ["tandem ctl -o "] = "json text",
      ["tandem ctl server drain pbx/a --w"] = "--wait", ["tandem ctl why --l"] = "--ladder --last",
      ["tandem ctl server drain --reason x pbx/a --f"] = "--for",
      ["tandem ctl log-level d"] = "debug", ["tandem ctl server set pbx/a w"] = "weight=",
      ["tandem ctl -s /nope server drain "] = "", ["tandem ctl nonsense "] = "",
    } do
      local ok, output = sh.run(("env TANDEM_CTL=%s bash %s %s %s/tandem"):format(sock,
        process.path "complete", sh.quote(line), build))
      assert.is_true(ok)
      assert.same({ line, wanted }, { line, (output:gsub("%s+$", "")) })
    end
  end)
end)
