-- Where a kernel does not let us have networks of our own, as in many containers, the
-- specs that need them are pending, say why, and are counted.
local process = require "support.process"
local sh = require "support.sh"

local here = os.getenv "PWD"

describe("specs in network namespaces", function()
  after_each(process.clean)

  it("are skipped without CAP_NET_ADMIN, and counted", function()
    local tally = here .. "/" .. process.path "tally"
    process.write("unshare", "#!/bin/sh\necho 'unshare failed: Operation not permitted'\nexit 1\n")
    local bin = (here .. "/" .. process.path "unshare"):match "^(.*)/"
    sh.run("chmod +x " .. bin .. "/unshare")
    local ok, output = sh.run(("PATH=%s:$PATH TALLY=%s spec/run spec/e2e/vip_spec.lua "
      .. "spec/e2e/keepalived_spec.lua spec/ha/ha_spec.lua --filter='virtual address' "
      .. "--filter='pair of machines'"):format(bin, tally))
    assert(ok, output)
    local passed, failed, pending = process.read(tally):match "^(%d+) (%d+) (%d+)"
    assert.same({ "0", "0" }, { passed, failed })
    assert(tonumber(pending) > 10, pending)
    local _, said = output:gsub("skipped: needs CAP_NET_ADMIN", "")
    assert.equal(tonumber(pending), said)
  end)
end)
