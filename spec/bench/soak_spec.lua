-- Hours under load with a fault every now and then: see spec/bench/soak, which says what
-- the words of the environment mean.
local faults = require "support.faults"
local process = require "support.process"

local seconds = tonumber(os.getenv "SOAK_SECONDS")
local seed = tonumber(os.getenv "SEED" or 1)
local slice = math.min(seconds, 600) -- so long one process of callers lives: their notes grow

local pool = [[
  check = { interval = 1, fast_interval = 0.5, timeout = 0.4, fall = 3, rise = 2 },
  passive = { hold = 1 }, failback = { hold = 0, hold_max = 1 }, attempt = { ring_timeout = 10 },
  shared_dialogs = true,]]

-- What sipp wrote about a slice, by what became of the calls.
local function add_up(sums, run)
  for line in io.lines(process.path(run.name .. ".calls")) do
    local word, what = line:match "^(%a+) %S+ %d+ ?(%w*)"
    local key = (word == "invite" or word == "answered") and word or word .. " " .. what
    sums[key] = (sums[key] or 0) + 1
  end
  os.remove(process.path(run.name .. ".calls"))
end

describe("for a long time", function()
  after_each(process.clean)

  it("C20: servers come and go, and nothing grows", function()
    local row = faults.row("C20", ("%d s, %d calls per second, a fault every 10 s")
      :format(seconds, faults.rate))
    local f = faults.field(pending, { seconds = seconds + 400, seed = seed })
    if not f then return end
    math.randomseed(seed)
    local servers = { a = faults.server(f, "a"), b = faults.server(f, "b") }
    local tandem = faults.proxy(f, faults.failover(f, pool), { "a", "b" })
    process.sleep(7) -- until there are as many records of checks as there will be
    local before, injected = tandem:stats(), {}
    local slack = 1024 -- bytes: a check or two that are open at one of the two moments

    local function restart(name)
      servers[name]:kill()
      servers[name] = faults.server(f, name)
    end
    local kinds = {
      ["black hole"] = { function(name) f:cable(name, { loss = 1 }) end, f.cable },
      ["bad cable"] = { function(name)
        f:cable(name, { loss = 0.2, delay = 30, jitter = 30, duplicate = 0.05, reorder = 0.05 })
      end, f.cable },
      ["closed port"] = { function(name) servers[name]:kill() end,
        function(_, name) servers[name] = faults.server(f, name) end },
      ["frozen"] = { function(name) servers[name]:signal "STOP" end,
        function(_, name) servers[name]:signal "CONT" end },
      ["restart"] = { restart, function() end },
      ["reload"] = { function() tandem:signal "HUP" end, function() end },
    }
    local names = { "bad cable", "black hole", "closed port", "frozen", "reload", "restart" }
    local function fault()
      local kind, name = names[math.random(#names)], math.random(2) == 1 and "a" or "b"
      injected[kind] = (injected[kind] or 0) + 1
      kinds[kind][1](name)
      process.sleep(1 + 4 * math.random())
      kinds[kind][2](f, name)
      process.sleep(4 + 7 * math.random())
    end

    local sums, since, sizes, n = {}, process.now(), {}, 0
    while process.now() < since + seconds - 1 do
      n = n + 1
      local left = math.min(slice, since + seconds - process.now())
      local callers = faults.callers(f, left, { name = "callers-" .. n })
      while not callers:ended() do
        fault()
        sizes[#sizes + 1] = faults.size(tandem)
      end
      callers:wait()
      add_up(sums, callers)
    end
    -- What is kept for 64*T1 is gone then.
    local after
    process.eventually(60, function()
      process.sleep(0.5)
      after = tandem:stats()
      return after.requests == 0 and after.bytes <= before.bytes + slack
    end)
    local third, last = sizes[#sizes // 3 + 1], sizes[#sizes]
    local hours = (process.now() - since) / 3600 * 2 / 3
    for _, kind in ipairs(names) do
      row:figure("faults: " .. kind, injected[kind] or 0)
    end
    row:figure("calls", sums.invite, { least = 1 })
    local rang = sums["refused 408"] or 0
    row:figure("answered", sums.answered)
    row:figure("rang at a server that died or froze (408)", rang)
    row:figure("failed otherwise", (sums.invite - sums.answered - rang) / sums.invite * 100,
      { most = 0.1, unit = "%" })
    row:figure("BYEs answered with 200", (sums["bye 200"] or 0) / sums.answered * 100,
      { least = 99, unit = "%" })
    row:figure("resident after a third", third.kb / 1024, { unit = "MB" })
    row:figure("resident at the end", last.kb / 1024, { unit = "MB" })
    row:figure("growth", (last.kb - third.kb) / 1024 / hours,
      { most = hours >= 0.5 and 1 or nil, unit = "MB per hour" })
    row:figure("descriptors, more than at first", last.fds - sizes[1].fds, { most = 0 })
    row:figure("requests left", after.requests, { most = 0 })
    row:figure("transactions left, beside those of checks", after.clients - before.clients,
      { most = 2 })
    row:figure("bytes of the core, more than at first", after.bytes - before.bytes,
      { most = slack })
    row:done()
  end)
end)
