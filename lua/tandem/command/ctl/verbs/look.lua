-- Verbs that look and change nothing: status, pools, servers.
local args = require "tandem.command.ctl.args"
local servers = require "tandem.command.ctl.servers"
local status = require "tandem.command.ctl.status"

local _ENV = nil

-- The answer as the API gave it, or as text.
local function put(ctx, raw, text)
  ctx.out:write(ctx.is_json and raw or text)
end

local function show_status(ctx)
  local value, raw = ctx.api:get "/v1/status"
  put(ctx, raw, not ctx.is_json and status.text(value, ctx.api:get "/v1/pools", ctx.out))
end

local function show_pools(ctx)
  local value, raw = ctx.api:get "/v1/pools"
  put(ctx, raw, servers.pools(value, ctx.out))
end

local function show_servers(ctx, words)
  if words[1] then
    local path = "/v1/pools/" .. ctx.escape(words[1])
    local pool, raw = ctx.api:get(path .. (ctx.is_json and "/servers" or ""))
    put(ctx, raw, not ctx.is_json and servers.pool(pool, ctx.out))
    return
  end
  local value, raw = ctx.api:get(ctx.is_json and "/v1/servers" or "/v1/pools")
  put(ctx, raw, not ctx.is_json and servers.all(value, ctx.out))
end

local function show_server(ctx, words)
  local pool, name = args.server(words[1])
  local server, raw = ctx.api:get(("/v1/pools/%s/servers/%s"):format(ctx.escape(pool),
    ctx.escape(name)))
  put(ctx, raw, not ctx.is_json and servers.show(server, ctx.out))
end

-- The same in both formats: it is one of its own.
local function show_metrics(ctx)
  local _, raw = ctx.api:get "/metrics"
  ctx.out:write(raw)
end

return {
  {
    name = "status", summary = "version, uptime, configuration, calls, what is wrong",
    run = show_status,
  },
  { name = "pools", summary = "one line per pool", run = show_pools },
  {
    name = "servers", args = "[POOL]", most = 1,
    summary = "one line per server; * marks those that take calls", run = show_servers,
  },
  {
    name = "server show", args = "POOL/NAME", least = 1,
    summary = "all that is known of a server, and its last changes", run = show_server,
  },
  {
    name = "metrics", summary = "all that is counted, as Prometheus reads it", run = show_metrics,
  },
}
