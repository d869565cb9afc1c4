-- A decision trace (tandem/why.lua) in words, for people: as a line, and step by step.
--
--   INVITE sip:bob@example.com
--   Call-ID f81d@x
--   2026-11-27T03:12:44.102Z from 192.0.2.7:5060;transport=udp
--   200 after 4.002 s, decided at route.lua:14
--
--        0.000  pool pbx, ordered: a
--                 a   tier 1  chosen
--                 b   tier 2  next: tier 1 is usable
--        0.000  #1 to pbx/a at 10.0.0.1:5060;transport=udp
--        4.000  #1 failed: no answer (silent)
local duration = require "tandem.command.duration"
local ipairs, math, os, string, table = ipairs, math, os, string, table

local _ENV = nil

local explain = {}

-- ---- words ----

local causes = {
  silent = "no answer", no_progress = "a 100 and nothing more",
  icmp_port = "nobody listens on that port", icmp_host = "no way to that host",
  icmp_net = "no way to that network", refused = "connection refused",
  connect_timeout = "no connection in time", reset = "connection reset",
  closed = "connection closed", tls_identity = "its certificate is not its own",
  tls_handshake = "the TLS handshake failed", dns_none = "its name leads nowhere",
  dns_timeout = "its name was not found in time",
  no_source = "no listener or address to send from", too_big = "too big to be sent",
}

---@param cause string
---@return string
function explain.cause(cause)
  return causes[cause] and ("%s (%s)"):format(causes[cause], cause) or cause
end

local rules = {
  tried = "tried already", full = "full", lacks = "has none of", slow_start = "on slow start",
  down = "down", drain = "drain", maint = "maint", held = "held", failback = "failback hold",
  trial = "another request is trying it out", nowhere = "its address is not known",
  left = "DNS names it no more", spare = "weight 0: only when nobody else can",
  unknown = "no check has heard of it yet", tier = "", policy = "",
}

local chosen_rules = {
  sticky = "it challenged this caller a moment ago",
  slow_start = "on slow start, but nobody else could",
  failback = "on failback hold, but nobody else could",
  last_resort = "the last resort: nothing is usable",
  nowhere = "its address is not known, but nobody else could",
}

-- Of one server in a choice: "chosen", "next: tier 1 is usable", "out: held, ...".
---@param candidate table
---@return string
function explain.candidate(candidate)
  local verdict = candidate.verdict == "excluded" and "out" or candidate.verdict
  local parts = {}
  if candidate.verdict == "chosen" then
    parts[1] = chosen_rules[candidate.rule]
  else
    local rule = rules[candidate.rule] or candidate.rule
    parts[1] = rule ~= "" and rule or nil
    if candidate.rule == "down" and candidate.ago then
      parts[1] = ("down for %s"):format(duration.text(candidate.ago))
    end
  end
  parts[#parts + 1] = candidate.detail
  if candidate.left then
    parts[#parts + 1] = ("%s left"):format(duration.text(candidate.left))
  end
  return #parts > 0 and ("%s: %s"):format(verdict, table.concat(parts, ", ")) or verdict
end

local refusals = {
  [405] = "no route of the script takes this method",
  [416] = "a URI of that scheme goes nowhere",
  [420] = "it requires an extension (Proxy-Require)",
  [430] = "the connection to that phone is gone",
  [440] = "Max-Breadth is used up",
  [481] = "it belongs to no call that goes through here",
  [482] = "it was here before: a loop",
  [483] = "Max-Forwards is used up",
  [503] = "no script decides now",
}

-- Why the core refused a request by itself.
---@param code integer
---@param reason string?
---@param method string?
---@return string
function explain.refusal(code, reason, method)
  if code == 481 and method == "CANCEL" then
    return "there is nothing to cancel"
  end
  return reason or refusals[code] or "it is not valid"
end

local relays = {
  attempts = "no more attempts allowed (attempts)",
  budget = "the time for all attempts is used up (budget)",
  candidates = "no other server to try",
}

local nones = {
  empty = "it has no servers", down = "nobody is usable", full = "those usable are full",
}

-- ---- steps ----

local says = {}

function says.received(step)
  local by = step.source and (", from server %s"):format(step.source) or ""
  return ("%s from %s%s, %s"):format(step.method, step.from or "?", by,
    step.to and "to " .. step.to or "")
end

function says.choice(step)
  local policy = step.policy and ", " .. step.policy or ""
  if not step.server then
    return ("pool %s%s: no server, %s"):format(step.pool, policy, nones[step.none] or step.none)
  end
  return ("pool %s%s: %s"):format(step.pool, policy, step.server)
end

function says.attempt(step)
  local to = step.server or step.uri or "where its route leads"
  return ("#%d to %s%s"):format(step.number, to, step.address and " at " .. step.address or "")
end

function says.provisional(step)
  return ("#%d %d"):format(step.number, step.code)
end

function says.answer(step)
  if step.is_local then
    return ("#%d %d, made here: nobody answered the call in time"):format(step.number, step.code)
  end
  return ("#%d %d"):format(step.number, step.code)
end

function says.failed(step)
  return ("#%d failed: %s"):format(step.number, explain.cause(step.cause))
end

function says.cancelling(step)
  return ("#%d is cancelled, its last word is awaited"):format(step.number)
end

function says.abandoned(step)
  return ("#%d given up"):format(step.number)
end

function says.cancel()
  return "the caller cancels"
end

function says.verb(step)
  return ("%s%s"):format(step.verb, step.at and " at " .. step.at or "")
end

function says.error(step)
  return "the script failed: " .. step.message
end

function says.reply(step)
  return ("%d to the caller"):format(step.code)
end

function says.withheld()
  return "the caller gets no answer"
end

function says.late(step)
  return ("a late 2xx%s: %s"):format(step.server and " of " .. step.server or "",
    step.became == "ended" and "acknowledged and ended with BYE" or "passed on to the caller")
end

function says.takeover(step)
  return ("another node had sent the request: %d%s passed on to the caller"):format(
    step.code, step.server and " of " .. step.server or "")
end

function says.refused(step, record)
  return ("refused with %d: %s"):format(step.code,
    explain.refusal(step.code, step.reason, record.method))
end

function says.relay(step)
  if step.rule == "final" then
    return ("relay: %d is an answer for the caller (retry_on does not name it)"):format(step.code)
  end
  return ("relay: %s"):format(relays[step.rule] or step.rule)
end

function says.returned(step)
  return ("the handler returned nil, \"%s\""):format(step.word)
end

function says.fork(step)
  if step.rule == "depth" then
    return "fork: redirected too often"
  end
  return ("fork: %d target%s that the caller may not reach"):format(step.left_out,
    step.left_out == 1 and "" or "s")
end

local function add_candidates(lines, step)
  local width = 0
  for _, candidate in ipairs(step.candidates or {}) do
    width = math.max(width, #candidate.name)
  end
  for _, candidate in ipairs(step.candidates or {}) do
    lines[#lines + 1] = string.format("%16s %-" .. width .. "s  tier %d  %s", "", candidate.name,
      candidate.tier or 1, explain.candidate(candidate))
  end
  if step.more_refused then
    lines[#lines + 1] = ("%16s of the others more may have been full"):format ""
  end
  if step.more then
    lines[#lines + 1] = ("%16s and %d more"):format("", step.more)
  end
end

-- ---- records ----

-- "2026-11-27T03:12:44.102Z", as in the log.
---@param time number seconds since 1970
---@return string
function explain.time(time)
  local ms = math.floor(time * 1000 + 0.5)
  return os.date("!%Y-%m-%dT%H:%M:%S", ms // 1000) .. (".%03dZ"):format(ms % 1000)
end

-- How it ended, or how far it has come.
---@param record table
---@return string
function explain.result(record)
  local at = record.at and (", decided at %s"):format(record.at) or ""
  if record.open then
    return ("open for %.1f s%s"):format(record.total, at)
  elseif record.refused then
    return ("%d, refused by the proxy itself"):format(record.code)
  elseif record.takeover then
    return ("%d, passed on for another node"):format(record.code)
  elseif record.late and not record.method then
    return "a 2xx that came when all was over"
  elseif record.code == 0 then
    return ("no answer after %.3f s%s"):format(record.total, at)
  end
  return ("%d after %.3f s%s"):format(record.code, record.total, at)
end

-- Who was tried, and what came of it: "pbx/a:silent, pbx/b:200".
---@param record table
---@return string
function explain.tried(record)
  local list, at = {}, {}
  for _, step in ipairs(record.steps) do
    if step.what == "attempt" then
      at[step.number] = #list + 1
      list[#list + 1] = (step.server or step.address or step.uri or "?") .. ":-"
    elseif (step.what == "answer" or step.what == "failed") and at[step.number] then
      local i = at[step.number]
      -- out of JSON a code may be 200.0
      list[i] = list[i]:sub(1, -2) .. (step.cause or ("%d"):format(step.code))
    end
  end
  return table.concat(list, ", ")
end

-- One line, for a list of many.
---@param record table
---@return string
function explain.line(record)
  local result = record.open and "open" or record.code == 0 and "-"
    or ("%d"):format(record.code)
  local line = ("%s  %-8s %4s %8.3f  %s  %s"):format(explain.time(record.time),
    record.method or record.takeover and "takeover" or "late", result, record.total,
    record.call_id, explain.tried(record))
  return (line:gsub(" +$", ""))
end

-- A step in words.
---@param step table
---@param record? table of which it is one
---@return string
function explain.step(step, record)
  local say = says[step.what]
  return say and say(step, record) or step.what
end

---@param record table
---@return string
function explain.text(record)
  local lines = {}
  local function add(text)
    lines[#lines + 1] = text
  end
  if record.method then
    add(("%s %s"):format(record.method, record.uri))
  end
  add("Call-ID " .. record.call_id)
  if record.caller then
    add("caller " .. record.caller)
  end
  add(explain.time(record.time))
  add(explain.result(record))
  add ""
  for _, step in ipairs(record.steps) do
    add(("%10.3f  %s"):format(step.t, explain.step(step, record)))
    add_candidates(lines, step)
  end
  if record.cut then
    add "            and more, for which there was no room"
  end
  return table.concat(lines, "\n") .. "\n"
end

return explain
