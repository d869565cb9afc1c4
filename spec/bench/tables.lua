-- What is shown of each section: a title, and columns with their heads.
local ipairs, string, tostring = ipairs, string, tostring

local _ENV = nil

local tables = {}

-- A number with so many digits behind the point; "-" when there is none.
local function number(n, digits)
  return n and string.format("%." .. digits .. "f", n) or "-"
end

-- The value at a path such as "share.proxy" of a row.
local function at(row, path)
  for name in string.gmatch(path, "[^.]+") do
    row = row and row[name]
  end
  return row
end

-- A column of numbers: `times` brings them into the unit of its head.
local function numbers(head, path, digits, times)
  return { head = head, text = function(row)
    local n = at(row, path)
    return number(n and n * (times or 1), digits or 0)
  end }
end

local function words(head, path)
  return { head = head, is_text = true, text = function(row)
    return tostring(at(row, path) or "")
  end }
end

local function per_second(row)
  return string.format(row.at == "max" and "max %.0f" or "%.0f", row.rate)
end

local peer = words("peer", "peer")
local rate = { head = "per second", text = per_second }
local failed, again = numbers("failed", "failed"), numbers("again", "again")
local cpu = numbers("us/call", "cpu_us", 1)
local shares = { numbers("caller", "share.caller", 2), numbers("servers", "share.servers", 2),
  numbers("proxy", "share.proxy", 2) }
local limit = words("limit", "limit")
local mb = 1 / 2 ^ 20

local compared = { peer, rate, cpu, numbers("user", "user_us", 1),
  numbers("system", "system_us", 1), failed, again, numbers("routed p50", "delay_routed_p50"),
  numbers("p99", "delay_routed_p99"), numbers("all p50", "delay_p50"),
  numbers("p99", "delay_p99"), numbers("bytes/call", "wire_bytes"),
  shares[1], shares[2], shares[3], limit }

local own = {
  memory = { title = "what is held, resident memory", columns = { words("what", "what"), peer,
    numbers("number", "n"), numbers("at first, MB", "before", 1, mb),
    numbers("then, MB", "bytes", 1, mb), numbers("bytes each", "each"),
    numbers("counted by itself", "counted"), failed } },
  ringing = { title = "answers to OPTIONS while calls ring, milliseconds", columns = {
    words("calls", "phase"), peer, numbers("answers", "n"), numbers("lost", "lost"),
    numbers("p50", "p50", 2), numbers("p99", "p99", 2), numbers("longest", "longest", 2),
    numbers("loop: mean", "loop.mean", 2), numbers("p99 below", "loop.p99"),
    numbers("longest below", "loop.longest"), failed } },
  sustained = { title = "a rate for a while, one worker", columns = { peer, rate,
    numbers("seconds", "seconds"), numbers("calls", "n"), failed, again, cpu, shares[1],
    shares[2], shares[3], numbers("per second with a whole processor", "possible"), limit } },
  growth = { title = "memory when calls are over", columns = { peer, numbers("calls", "n"),
    rate, numbers("MB", "bytes", 2, mb), numbers("more, %", "more", 2, 100), failed, again } },
  workers = { title = "more workers, the same rate", columns = { numbers("callers", "callers"),
    numbers("workers", "workers"), rate, cpu, numbers("user", "user_us", 1),
    numbers("system", "system_us", 1), numbers("to one", "ratio", 2),
    numbers("handed over/call", "handed", 2), numbers("wakes/call", "wakes", 2),
    numbers("MB", "bytes", 1, mb), failed, shares[1], shares[2], shares[3], limit } },
  syscalls = { title = "system calls and allocations per call", columns = { peer, rate,
    numbers("on the way", "all", 1), numbers("epoll_wait", "by_name.epoll_wait", 1),
    numbers("receive", "receive", 1), numbers("send", "send", 1),
    numbers("write", "by_name.write", 1), numbers("others", "others", 1),
    numbers("all, by strace", "strace", 1), numbers("allocations", "allocations", 1), failed } },
}

-- The title and the columns of a section.
function tables.of(name, title)
  local t = own[name] or { title = title, columns = compared }
  return t.title, t.columns
end

-- The rows of a section as cells: the first are the heads.
function tables.cells(columns, rows)
  local cells = { {} }
  for i, column in ipairs(columns) do
    cells[1][i] = column.head
  end
  for _, row in ipairs(rows) do
    cells[#cells + 1] = {}
    for i, column in ipairs(columns) do
      cells[#cells][i] = column.text(row)
    end
  end
  return cells
end

return tables
