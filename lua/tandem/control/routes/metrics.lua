-- What Prometheus reads. A worker that does not answer costs only its own numbers: that
-- is when the others are wanted most.
local cjson = require "cjson"
local host = require "tandem.control.host"
local metrics = require "tandem.control.metrics"

local lua = _VERSION:gsub("^Lua ", "")

local _ENV = nil

local function page()
  local info = host.info()
  local sources = { workers = {}, facts = cjson.decode((host.call "metrics")) }
  local facts = sources.facts
  facts[#facts + 1] = { "tandem_build_info", { "version", info.version, "lua", lua }, 1 }
  for worker = 0, info.workers - 1 do
    local answer = host.ask("metrics", nil, worker)
    local has_all = answer ~= nil
    if worker == 0 and answer then
      local shared = metrics.pages(function(args)
        return host.ask("metrics.servers", args)
      end)
      if shared then
        sources.pools, sources.servers = shared.pools, shared.servers
      end
      has_all = shared ~= nil
    end
    sources.workers[#sources.workers + 1] = answer
    facts[#facts + 1] = { "tandem_worker_answers", { "worker", worker }, has_all and 1 or 0 }
  end
  return metrics.text(sources)
end

return function(route, api)
  route("GET", "/metrics", "read", function()
    return api.text(metrics.content_type, page())
  end)
end
