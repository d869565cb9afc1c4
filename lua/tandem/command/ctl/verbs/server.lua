-- Orders about servers: out of work and back, up and down, other values, more and less of
-- them; and what of that is in force.
local args = require "tandem.command.ctl.args"
local client = require "tandem.command.ctl.client"
local duration = require "tandem.command.duration"
local overrides = require "tandem.command.ctl.overrides"
local servers = require "tandem.command.ctl.servers"
local text = require "tandem.command.text"
local wait = require "tandem.command.ctl.wait"
local ipairs, math, tonumber = ipairs, math, tonumber

local _ENV = nil

local reload_patience = 60 -- seconds: an override loads the script again

local reason = { name = "reason", value = "TEXT", help = "why; it stands in log and status" }
local lasting = {
  name = "for", value = "DURATION", parse = duration.up_to(30 * 86400),
  help = "so long, then it is ready again",
}

local function path_of(ctx, pool, server)
  local path = "/v1/pools/" .. ctx.escape(pool)
  return server and path .. "/servers/" .. ctx.escape(server) or path
end

-- ---- what is said afterwards ----

local function note_kept(ctx, answer)
  if answer.kept == false and answer.not_kept then
    ctx.out:write(("  %s\n"):format(ctx.out.paint("not kept: " .. text.clean(answer.not_kept),
      "yellow")))
  end
end

-- Whoever takes the last server out should hear it.
local function note_pool(ctx, name, state)
  if state == "down" then
    ctx.out:write(("  %s\n"):format(ctx.out.paint(
      ("pool %s has no usable server now"):format(name), "red")))
  end
end

local function tell(ctx, server)
  local state, colour = servers.state(server)
  local why, rest = servers.why(server), wait.rest {
    calls = server.calls, setup = server.setup, requests = server.inflight,
  }
  ctx.out:write(("%s/%s: %s%s%s\n"):format(server.pool, server.name,
    ctx.out.paint(state, colour), why ~= "" and ", " .. text.clean(why) or "",
    rest and "; " .. rest or ""))
end

-- ---- orders ----

local function wait_for(ctx, server, seconds)
  local path = path_of(ctx, server.pool, server.name)
  local name = server.pool .. "/" .. server.name
  local rest, raw = wait.for_end(ctx, name, seconds, function()
    local now, answer = ctx.api:get(path)
    local load = { calls = now.calls, setup = now.setup, requests = now.inflight }
    if now.admin == "ready" and wait.rest(load) then
      ctx.out:progress ""
      client.fail(client.failed, "%s takes calls again (%s: %s), and has %s", name,
        now.admin_who or "?", now.admin_why or "?", wait.rest(load))
    end
    return load, answer
  end)
  if ctx.is_json then
    ctx.out:write(raw)
  elseif not rest then
    ctx.out:write(name .. ": no call is left\n")
  end
  if rest then
    client.fail(client.failed, "%s still has %s after %s", name, rest, wait.span(seconds))
  end
end

-- An order that PATCH gives; `field` is "admin" or "health".
local function order(field, word)
  return function(ctx, words, options)
    local pool, name = args.server(words[1])
    local answer, raw = ctx.api:order("PATCH", path_of(ctx, pool, name), {
      [field] = word, reason = options.reason, ["for"] = options["for"],
    })
    if not ctx.is_json then
      tell(ctx, answer)
      note_kept(ctx, answer)
      if word ~= "ready" and word ~= "up" then
        note_pool(ctx, pool, answer.pool_state)
      end
    elseif not options.wait then
      ctx.out:write(raw)
    end
    if options.wait then
      wait_for(ctx, answer, options.wait)
    end
  end
end

local function failback(ctx, words)
  local pool_name, name = args.server(words[1], true)
  local pool, raw = ctx.api:order("POST", path_of(ctx, pool_name, name) .. "/failback")
  ctx.out:write(ctx.is_json and raw or servers.pool(pool, ctx.out))
end

-- ---- values ----

local values = { "weight", "max_calls", "max_cps" }

local function number(name, value)
  local n = tonumber(value)
  if not n or n ~= n or n < 0 or n == math.huge then
    args.wrong("%s is a number, not '%s'", name, value)
  end
  return math.tointeger(n) or n
end

local function read_values(words, from, allowed)
  local body = {}
  for i = from, #words do
    local name, value = args.assignment(words[i], allowed)
    body[name] = number(name, value)
  end
  return body
end

local function set(ctx, words, options)
  local pool, name = args.server(words[1])
  local body = read_values(words, 2, values)
  body.reason = options.reason
  local answer, raw = ctx.api:order("PATCH", path_of(ctx, pool, name), body, nil, reload_patience)
  if ctx.is_json then
    ctx.out:write(raw)
    return
  end
  local list = {}
  for _, what in ipairs(values) do
    if answer[what] then
      list[#list + 1] = ("%s %g"):format(what, answer[what])
    end
  end
  ctx.out:write(("%s/%s: %s\n"):format(pool, name, text.join(list)))
  note_kept(ctx, answer)
end

local function add(ctx, words, options)
  local pool, name = args.server(words[1])
  local body = read_values(words, 3, { "tier", "weight", "max_calls", "max_cps" })
  body.name, body.uri, body.reason = name, words[2], options.reason
  local answer, raw = ctx.api:order("POST", path_of(ctx, pool) .. "/servers", body, nil,
    reload_patience)
  if ctx.is_json then
    ctx.out:write(raw)
    return
  end
  ctx.out:write(("%s/%s: added, tier %d, %s\n"):format(pool, name, answer.tier, answer.uri))
  note_kept(ctx, answer)
end

local function remove(ctx, words, options)
  local pool, name = args.server(words[1])
  local answer, raw = ctx.api:order("DELETE", path_of(ctx, pool, name),
    { reason = options.reason }, nil, reload_patience)
  if ctx.is_json then
    ctx.out:write(raw)
    return
  end
  ctx.out:write(("%s/%s: removed%s\n"):format(pool, name, answer.calls > 0
    and ("; %s to their end"):format(text.count(answer.calls, "call") .. " go on") or ""))
  note_kept(ctx, answer)
  note_pool(ctx, pool, ctx.api:get(path_of(ctx, pool)).state)
end

-- ---- what is in force ----

local function show_overrides(ctx)
  local value, raw = ctx.api:get "/v1/overrides"
  if ctx.is_json then
    ctx.out:write(raw)
    return
  end
  ctx.out:write(overrides.text(value.overrides, ctx.out))
  note_kept(ctx, value)
end

local function clear(ctx, words, options)
  local path = "/v1/overrides"
  if words[1] then
    local pool, name = args.server(words[1])
    path = path .. "/" .. ctx.escape(pool) .. "/" .. ctx.escape(name)
  end
  local answer, raw = ctx.api:order("DELETE", path, { reason = options.reason }, nil,
    reload_patience)
  ctx.out:write(ctx.is_json and raw
    or ("%s cleared: as the script says\n"):format(text.count(answer.cleared, "override")))
end

local function server_verb(name, summary, run, options, more)
  return {
    name = "server " .. name, args = "POOL/NAME", least = 1, summary = summary, run = run,
    options = options, more = more,
  }
end

return {
  server_verb("drain", "no new calls; those that are up go on", order("admin", "drain"),
    { reason, lasting, wait.option },
    "It is still checked. In-dialog requests of its calls reach it as before.\n"),
  server_verb("maint", "no new calls and no checks; its calls go on", order("admin", "maint"),
    { reason, lasting, wait.option },
    "When it is ready again nothing is known of it until it has been checked.\n"),
  server_verb("ready", "ends drain and maint", order("admin", "ready"), { reason }),
  server_verb("up", "is up, until checks or calls show otherwise", order("health", "up"),
    { reason }),
  server_verb("down", "is down, until told otherwise", order("health", "down"), { reason }),
  server_verb("auto", "ends up and down: checks decide again", order("health", "auto"),
    { reason }),
  {
    name = "server set", args = "POOL/NAME weight=N|max_calls=N|max_cps=N ...", least = 2,
    most = 4, summary = "another value than the script has, from now on", run = set,
    options = { reason },
    more = "An override: it is put in force by a reload, in all workers or none, and is kept\n"
      .. "until it is cleared or the script says something new. See 'overrides'.\n",
  },
  {
    name = "server add", args = "POOL/NAME URI [tier=N] [weight=N] [max_calls=N] [max_cps=N]",
    least = 2, most = 6, summary = "one more server in a pool, as an override", run = add,
    options = { reason },
  },
  server_verb("remove", "one less, as an override; its calls go on", remove, { reason },
    "To wait for their end first: server drain POOL/NAME --wait.\n"),
  {
    name = "pool failback", args = "POOL[/NAME]", least = 1,
    summary = "servers that came back take calls at once", run = failback,
    more = "Ends the failback hold of all servers of the pool, or of one.\n",
  },
  {
    name = "overrides", summary = "what operators want otherwise than the script",
    run = show_overrides,
  },
  {
    name = "overrides clear", args = "[POOL/NAME]", most = 1,
    summary = "as the script says again: for one server, or for all", run = clear,
    options = { reason },
  },
}
