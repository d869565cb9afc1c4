-- Orders about the proxy itself: load the script again, take nothing new, end.
local client = require "tandem.command.ctl.client"
local duration = require "tandem.command.duration"
local text = require "tandem.command.text"
local wait = require "tandem.command.ctl.wait"
local error, ipairs, pcall, table = error, ipairs, pcall, table

local _ENV = nil

local patience = 60 -- seconds for a script to load

-- ---- reload and check ----

-- What the script says that the one before did not.
local function changes(found)
  local lines = {}
  for _, kind in ipairs { "added", "removed", "changed" } do
    local list = found[kind]
    if list and #list > 0 then
      lines[#lines + 1] = ("  %-8s %s\n"):format(kind, text.clean(text.join(list)))
    end
  end
  return #lines > 0 and table.concat(lines) or "  nothing is different\n"
end

-- As it came in JSON; as text with the generation that goes on.
local function refused(ctx, problem)
  local answer = problem.answer
  if ctx.is_json and answer then
    ctx.out:write(problem.raw)
  end
  if answer and answer.generation then
    problem.text = ("%s\nGeneration %d goes on, nothing has changed."):format(problem.text,
      answer.generation)
  end
  error(problem, 0)
end

local function load(ctx, path, body)
  local ok, found, raw = pcall(ctx.api.order, ctx.api, "POST", path, body, nil, patience)
  if not ok then
    refused(ctx, found)
  end
  return found, raw
end

local function reload(ctx)
  local found, raw = load(ctx, "/v1/reload")
  ctx.out:write(ctx.is_json and raw
    or ("generation %d runs\n%s"):format(found.generation, changes(found)))
end

local function check(ctx, words)
  local found, raw = load(ctx, "/v1/check", { file = words[1] })
  ctx.out:write(ctx.is_json and raw or ("it loads; beside generation %d:\n%s")
    :format(found.generation, changes(found)))
end

-- ---- drain and stop ----

local function wait_for(ctx, seconds)
  local rest, raw = wait.for_end(ctx, "the proxy", seconds, function()
    local load_now, answer = ctx.api:get "/v1/drain"
    if not load_now.draining and not load_now.stopping and wait.rest(load_now) then
      ctx.out:progress ""
      client.fail(client.failed, "the proxy takes new calls again, somebody has ended the drain")
    end
    return load_now, answer
  end)
  if ctx.is_json then
    ctx.out:write(raw)
  elseif not rest then
    ctx.out:write "no call is left\n"
  end
  if rest then
    client.fail(client.failed, "the proxy still has %s after %s", rest, wait.span(seconds))
  end
end

local function drain(ctx, _, options)
  local load_now, raw = ctx.api:order(options.off and "DELETE" or "POST", "/v1/drain")
  if ctx.is_json then
    if not options.wait then
      ctx.out:write(raw)
    end
  else
    local rest = wait.rest(load_now)
    ctx.out:write((options.off and "takes new calls again" or "draining: nothing new is taken")
      .. (rest and "; " .. rest or "") .. "\n")
  end
  if options.wait then
    wait_for(ctx, options.wait)
  end
end

-- Has it ended? The socket is gone, or nobody answers there.
local function is_gone(ctx)
  local ok, problem = pcall(ctx.api.ask, ctx.api, "GET", "/healthz")
  return not ok and problem.code == client.unreachable
end

local function wait_gone(ctx, seconds)
  local began = ctx.api:now()
  while not is_gone(ctx) do
    local passed = ctx.api:now() - began
    if passed >= seconds then
      ctx.out:progress ""
      client.fail(client.failed, "the proxy has not ended after %s", wait.span(seconds))
    end
    ctx.out:progress(("ending, after %s"):format(duration.text(passed)))
    ctx.api:sleep(0.2)
  end
  ctx.out:progress ""
end

local function stop(ctx, _, options)
  local load_now, raw = ctx.api:order("POST", "/v1/stop")
  if ctx.is_json then
    ctx.out:write(raw)
  else
    ctx.out:write(("ending; %s\n"):format(wait.rest(load_now) or "nothing is open"))
  end
  if options.wait then
    wait_gone(ctx, options.wait)
    if not ctx.is_json then
      ctx.out:write "it has ended\n"
    end
  end
end

return {
  {
    name = "reload", summary = "load the script again; fails when it is wrong", run = reload,
    more = "All workers take it over, or none: then the one before goes on, and this says\n"
      .. "what is wrong, with file and line.\n",
  },
  {
    name = "check", args = "[FILE]", most = 1,
    summary = "what would a reload change? Only loads it", run = check,
    more = "FILE: another script than the present one, as the proxy sees it.\n",
  },
  {
    name = "drain", summary = "take no new calls; those that are up go on", run = drain,
    options = { { name = "off", help = "take new calls again" }, wait.option },
    more = "The whole proxy; for one server: server drain. New requests get a 503, and so\n"
      .. "does OPTIONS, by which others see it.\n",
  },
  {
    name = "stop", summary = "end: as TERM, when no call is being set up", run = stop,
    options = {
      {
        name = "wait", value = "DURATION", default = wait.option.default,
        parse = duration.parse, help = "return when it has ended, or fail then",
      },
    },
  },
}
