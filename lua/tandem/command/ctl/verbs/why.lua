-- Verbs about calls: which are open, and why one went where it went.
local args = require "tandem.command.ctl.args"
local explain = require "tandem.control.explain"
local ladder = require "tandem.control.ladder"
local text = require "tandem.command.text"
local ipairs, math, table, tonumber = ipairs, math, table, tonumber

local _ENV = nil

-- What comes from the network must not move the cursor.
local function clean(lines)
  return (lines:gsub("[^\n]+", text.clean))
end

local function number(most)
  return function(word)
    local n = math.tointeger(tonumber(word))
    if n and n >= 1 and n <= most then
      return n
    end
    return nil, ("a number from 1 to %d, not '%s'"):format(most, word)
  end
end

local function put_all(ctx, list, show, between)
  local parts = {}
  for i = #list, 1, -1 do -- the newest is read last
    parts[#parts + 1] = show(list[i])
  end
  ctx.out:write(clean(table.concat(parts, between)))
end

local function of_call(ctx, call_id, options)
  local list, raw = ctx.api:get("/v1/why/" .. ctx.escape(call_id))
  if ctx.is_json then
    ctx.out:write(raw)
  elseif options.ladder then
    put_all(ctx, list, function(record)
      return ladder.text(record, ctx.out.width)
    end, "\n")
  else
    put_all(ctx, list, explain.text, "\n")
  end
end

local function why(ctx, words, options)
  if words[1] then
    if options.last or options.failed then
      args.wrong "why CALL-ID tells all of that call: without --last and --failed"
    end
    return of_call(ctx, words[1], options)
  elseif options.ladder then
    args.wrong "why --ladder needs a Call-ID"
  end
  local list, raw = ctx.api:get(("/v1/why?last=%d%s"):format(options.last or 20,
    options.failed and "&failed=1" or ""))
  if ctx.is_json then
    ctx.out:write(raw)
    return
  elseif #list == 0 then
    ctx.out:write(options.failed and "Of the requests that are remembered none has failed.\n"
      or "No request is remembered.\n")
  end
  put_all(ctx, list, function(record)
    return explain.line(record) .. "\n"
  end, "")
end

local call_heads = {
  { title = "CALL-ID", least = 12 }, { title = "METHOD" }, { title = "STATE" },
  { title = "AGE", align = "right" }, { title = "FROM", least = 12, drop = 2 },
  { title = "TRIED", least = 12, drop = 1 },
}

local server_heads = {
  { title = "SERVER" }, { title = "CALLS", align = "right" }, { title = "OPEN", align = "right" },
}

local function calls(ctx, _, options)
  local all, raw = ctx.api:get(("/v1/calls?last=%d"):format(options.last or 100))
  if ctx.is_json then
    ctx.out:write(raw)
    return
  end
  local rows, servers = {}, {}
  for i, request in ipairs(all.requests) do
    rows[i] = {
      request.call_id, request.method, request.state, ("%.1f s"):format(request.age),
      request.from, request.tried,
    }
  end
  for i, server in ipairs(all.servers) do
    servers[i] = {
      server.pool .. "/" .. server.server, ("%d"):format(server.calls),
      ("%d"):format(server.inflight),
    }
  end
  local options_of = { width = ctx.out.width, paint = ctx.out.paint }
  ctx.out:write(text.count(all.total, "open request") .. "\n"
    .. (#rows > 0 and text.table(call_heads, rows, options_of) or "")
    .. (#servers > 0 and "\n" .. text.table(server_heads, servers, options_of) or ""))
end

return {
  {
    name = "calls", summary = "requests that are open, and the calls at each server",
    options = {
      { name = "last", value = "N", parse = number(1000), help = "at most so many; 100" },
    },
    run = calls,
  },
  {
    name = "why", args = "[CALL-ID]", most = 1,
    summary = "why a call went where it went; without one, the last requests",
    options = {
      { name = "ladder", help = "as a call flow" },
      { name = "last", value = "N", parse = number(100), help = "so many; 20" },
      { name = "failed", help = "only those that failed" },
    },
    run = why,
  },
}
