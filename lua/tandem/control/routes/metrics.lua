-- What Prometheus reads. A worker that does not answer costs only its own numbers: that
-- is when the others are wanted most.
local cjson = require "cjson"
local host = require "tandem.control.host"
local metrics = require "tandem.control.metrics"

local lua = _VERSION:gsub("^Lua ", "")

local _ENV = nil

local function pages(what, worker)
  return metrics.pages(function(args)
    return host.ask(what, args, worker)
  end)
end

-- All that a worker says, added to the sources; nil when it did not say all.
local function add_worker(sources, worker)
  local answer = host.ask("metrics", nil, worker)
  local user = answer and pages("metrics.user", worker)
  if not user then
    return nil
  end
  answer.user = user.user
  sources.workers[#sources.workers + 1] = answer
  if worker > 0 then
    return true
  end
  local shared = pages("metrics.servers", worker)
  if shared then
    sources.pools, sources.servers = shared.pools, shared.servers
  end
  return shared
end

local function page()
  local info = host.info()
  local sources = { workers = {}, facts = cjson.decode((host.call "metrics")) }
  local facts = sources.facts
  facts[#facts + 1] = { "tandem_build_info", { "version", info.version, "lua", lua }, 1 }
  for worker = 0, info.workers - 1 do
    local has_all = add_worker(sources, worker) and 1 or 0
    facts[#facts + 1] = { "tandem_worker_answers", { "worker", worker }, has_all }
  end
  return metrics.text(sources)
end

return function(route, api)
  route("GET", "/metrics", "read", function()
    return api.text(metrics.content_type, page())
  end)
end
