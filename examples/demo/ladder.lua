-- Prints the ladder of each call in a proxy's message log (log_level debug), for
-- `make demo`: lua5.4 examples/demo/ladder.lua LOG [ADDRESS=NAME...]
local path = arg[1]
local names, order = {}, {}
for i = 2, #arg do
  local address, name = arg[i]:match "^(.-)=(.+)$"
  names[address] = name
end

local function field(line, key)
  return line:match(" " .. key .. '="(.-)"') or line:match(" " .. key .. "=(%S+)")
end

local function seconds(line)
  local h, m, s = line:match "T(%d+):(%d+):([%d.]+)Z"
  return h * 3600 + m * 60 + s
end

-- "INVITE sip:bob@... SIP/2.0" or "SIP/2.0 180 Ringing", shortened.
local function title(line)
  local status = line:match "^SIP/2%.0 (.*)"
  return status or line:match "^(%S+)"
end

local calls = {}
for line in io.lines(path) do
  if line:find "event=sip.message" then
    local id = field(line, "call_id")
    local cseq = field(line, "cseq") or ""
    if id and not cseq:find "OPTIONS" then
      if not calls[id] then
        calls[id] = {}
        order[#order + 1] = id
      end
      table.insert(calls[id], line)
    end
  end
end

for number, id in ipairs(order) do
  local began = seconds(calls[id][1])
  print(("Call %d"):format(number))
  for _, line in ipairs(calls[id]) do
    local peer = field(line, "peer")
    local name = names[peer] or peer
    local out = field(line, "dir") == "out"
    print(("  %7.3f  %-8s %s %-8s %s"):format(seconds(line) - began,
      out and "proxy" or name, "->", out and name or "proxy", title(field(line, "line"))))
  end
end
