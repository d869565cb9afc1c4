-- Verbs that watch: what has changed lately, one call on the wire, more in the log.
local args = require "tandem.command.ctl.args"
local cjson = require "cjson"
local duration = require "tandem.command.duration"
local events = require "tandem.command.ctl.events"
local ipairs = ipairs

local _ENV = nil

local every = 0.5 -- seconds between two looks

-- ---- events ----

local function put(ctx, answer)
  if not ctx.is_json then
    ctx.out:write(events.text(answer.events, ctx.out))
    return
  end
  for _, event in ipairs(answer.events) do
    ctx.out:write(cjson.encode(event) .. "\n")
  end
end

local function show_events(ctx, _, options)
  local answer, raw = ctx.api:get "/v1/events"
  if not options.follow then
    ctx.out:write(ctx.is_json and raw or #answer.events > 0 and events.text(answer.events, ctx.out)
      or "Nothing has changed yet.\n")
    return
  end
  while true do
    put(ctx, answer)
    ctx.api:sleep(every)
    answer = ctx.api:get("/v1/events", { since = answer.last })
  end
end

-- ---- for a while ----

local lasting = {
  name = "for", value = "DURATION", parse = duration.up_to(86400), help = "so long (5m)",
}
local off = { name = "off", help = "end it now" }

-- Sets what lasts for a time, or ends it.
local function put_order(ctx, path, body, text)
  local _, raw = ctx.api:order(body and "PUT" or "DELETE", path, body)
  ctx.out:write(ctx.is_json and raw or text .. "\n")
end

local function seconds(options)
  return options["for"] or 300
end

local function log_level(ctx, words, options)
  if options.off then
    put_order(ctx, "/v1/log-level", nil, "log level: as configured")
    return
  elseif not words[1] then
    args.wrong "log-level needs a level: error, warn, info or debug"
  end
  put_order(ctx, "/v1/log-level", { level = words[1], ["for"] = seconds(options) },
    ("log level: %s for %s"):format(words[1], duration.text(seconds(options))))
end

local function trace(ctx, _, options)
  if options.off then
    put_order(ctx, "/v1/trace", nil, "nothing is traced any more")
    return
  elseif not options["call-id"] and not options.from then
    args.wrong "trace needs --call-id or --from: whose messages?"
  end
  put_order(ctx, "/v1/trace", {
    call_id = options["call-id"], from = options.from, hep = options.hep,
    ["for"] = seconds(options),
  }, ("traced for %s, %s"):format(duration.text(seconds(options)),
    options.hep and "to " .. options.hep or "to the log, as sip.message"))
end

return {
  {
    name = "events", summary = "what has changed lately: servers, pools, the script",
    run = show_events,
    options = { { name = "follow", letter = "f", help = "and what changes from now on" } },
    more = "With -o json and --follow: one object per line.\n",
  },
  {
    name = "log-level", args = "[LEVEL]", most = 1, run = log_level, options = { lasting, off },
    summary = "more or less in the log, for a while",
    more = "LEVEL: error, warn, info or debug.\n",
  },
  {
    name = "trace", summary = "the messages of a call, to a collector or the log", run = trace,
    options = {
      { name = "call-id", value = "ID", help = "of this call" },
      { name = "from", value = "USER", help = "of calls from this user" },
      { name = "hep", value = "ADDR", help = "a collector of HEP3: udp:192.0.2.9:9060" },
      lasting, off,
    },
  },
}
