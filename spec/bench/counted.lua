-- What spec/bench/instructions has counted, as tables of Markdown.
local ipairs, pairs, string, table = ipairs, pairs, string, table

local _ENV = nil

local counted = {}

local few = 0.01 -- of all: below, a layer is among the rest

-- `results` as in instructions.json.
function counted.markdown(results)
  local call, names, lines, rest = results.calls.udp, {}, {}, 0
  local function add(text, ...)
    lines[#lines + 1] = string.format(text, ...)
  end
  for name, n in pairs(call.layers) do
    names[#names + 1] = n >= few * call.all and name or nil
    rest = rest + (n < few * call.all and n or 0)
  end
  table.sort(names, function(a, b)
    return call.layers[a] > call.layers[b]
  end)
  add("Of an INVITE-to-BYE call: %.0f instructions, %.1f allocations, %.1f system calls. Of a "
    .. "REGISTER: %.0f, %.1f, %.1f.", call.all, call.allocations, call.system_calls.all,
    results.calls.register.all, results.calls.register.allocations,
    results.calls.register.system_calls.all)
  add ""
  add "| layer | instructions per call | |"
  add "|---|---:|---:|"
  for _, name in ipairs(names) do
    add("| `%s` | %.0f | %.0f %% |", name, call.layers[name], call.layers[name] / call.all * 100)
  end
  add("| the rest | %.0f | %.0f %% |", rest, rest / call.all * 100)
  add ""
  add "| operation | instructions |"
  add "|---|---:|"
  for _, row in ipairs(results.operations) do
    add("| %s | %.0f |", row.name, row.instructions)
  end
  return lines
end

return counted
