-- What Prometheus reads. Of a worker that does not answer the last numbers stand: that is
-- when the others are wanted most, and a sum without it would look like a restart.
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

-- All that a worker says; nil when it did not say all.
local function ask(worker)
  local answer = host.ask("metrics", nil, worker)
  local user = answer and pages("metrics.user", worker)
  if not user then
    return nil
  end
  answer.user = user.user
  local shared = {}
  if worker == 0 then -- it decides for all
    shared = pages("metrics.servers", worker)
  end
  return shared and { counted = answer, pools = shared.pools, servers = shared.servers }
end

local last = {} -- what each worker said when it answered last

local function page()
  local info = host.info()
  local sources = { workers = {}, facts = cjson.decode((host.call "metrics")) }
  local facts = sources.facts
  facts[#facts + 1] = { "tandem_build_info", { "version", info.version, "lua", lua }, 1 }
  for worker = 0, info.workers - 1 do
    local said = ask(worker)
    facts[#facts + 1] = { "tandem_worker_answers", { "worker", worker }, said and 1 or 0 }
    last[worker] = said or last[worker]
    said = last[worker]
    if said then
      sources.workers[#sources.workers + 1] = said.counted
      sources.pools, sources.servers = said.pools or sources.pools, said.servers or sources.servers
    end
  end
  return metrics.text(sources)
end

return function(route, api)
  route("GET", "/metrics", "read", function()
    return api.text(metrics.content_type, page())
  end)
end
