-- The arithmetic of `make bench-overload`.
local program = require "bench.program"
local rounds = require "bench.rounds"
local seconds = require "bench.seconds"
local verdict = require "bench.verdict"

-- ---- who calls ----

describe("the ACK of a refusal", function()
  -- sipp's [branch-N] is the branch of N steps before. With another one the ACK belongs to
  -- nothing, and costs the proxy more than the refusal.
  it("has the branch of its INVITE (17.1.1.3)", function()
    local text = program.read("spec/bench/sipp/crowd.xml"):gsub("<!%-%-.-%-%->", "")
    local before = text:match "^(.*)\n  <label id=\"refused\"/>"
    local steps = select(2, before:gsub("\n  <%l+", "")) - select(2, before:gsub("\n  <label", ""))
    assert.equal(("[branch-%d]"):format(steps), text:match "ACK sip:.-branch=(%[.-%])")
  end)
end)

-- ---- seconds ----

local head = "StartTime;CurrentTime;TotalCallCreated;FailedCall(C);Retransmissions(C);"
  .. "refused(C);failed(C);answered(C);ended(C);\n"

local function stamp(at)
  return string.format("2026-11-28\t11:21:%06.3f\t%.6f", at % 60, at)
end

-- A line of sipp's; counts as in its head.
local function line(at, ...)
  return stamp(100.5) .. ";" .. stamp(at) .. ";" .. table.concat({ ... }, ";") .. ";\n"
end

describe("what sipp has counted", function()
  it("is taken apart by second", function()
    local rows = seconds.parse(head .. line(101.5, 10, 0, 1, 2, 0, 5, 0)
      .. line(103.5, 30, 1, 1, 12, 1, 15, 4))
    assert.equal(100.5, rows.began)
    assert.same({
      { from = 100.5, to = 101.5, made = 10, lost = 0, again = 1, refused = 2, failed = 0,
        answered = 5, ended = 0 },
      { from = 101.5, to = 103.5, made = 20, lost = 1, again = 0, refused = 10, failed = 1,
        answered = 10, ended = 4 },
    }, { table.unpack(rows) })
    assert.equal(30, seconds.sum(rows, "made"))
  end)

  it("may be read while it is written", function()
    local last = line(102.5, 30, 1, 1, 12, 1, 15, 4)
    assert.equal(0, #seconds.parse "")
    assert.equal(0, #seconds.parse(head))
    for _, cut in ipairs { 1, 5, #last - 1 } do -- without its newline, in its columns, just begun
      local text = head .. line(101.5, 10, 0, 1, 2, 0, 5, 0) .. last:sub(1, #last - cut)
      assert.equal(1, #seconds.parse(text))
    end
    assert.equal(1, #seconds.parse(head .. line(101.5, 10, 0, 1, 2, 0, 5, 0) .. "2026;\n"))
  end)

  it("counts only in seconds that are wholly within some time", function()
    local rows = seconds.parse(head .. line(101.5, 1, 0, 0, 0, 0, 0, 0)
      .. line(102.501, 2, 0, 0, 0, 0, 0, 0) .. line(103.502, 4, 0, 0, 0, 0, 0, 0)
      .. line(104.503, 8, 0, 0, 0, 0, 0, 0))
    local counted = seconds.within(rows, 1, 4)
    assert.equal(2, #counted)
    assert.same({ 1, 2 }, { counted[1].made, counted[2].made })
  end)

  it("says when nobody was refused any more", function()
    local function row(refused, failed, lost)
      return { refused = refused, failed = failed, lost = lost }
    end
    local calm = row(0, 0, 0)
    assert.equal(0, seconds.well_after { calm, calm })
    assert.equal(1, seconds.well_after { row(3, 0, 0), calm, calm })
    assert.equal(2, seconds.well_after { calm, row(0, 1, 0), calm })
    assert.equal(3, seconds.well_after { row(3, 0, 0), calm, row(0, 0, 1) })
  end)
end)

describe("what the kernel has counted", function()
  local samples = { { at = 10, cpu = 1, stolen = 0 }, { at = 11, cpu = 3, stolen = 0 },
    { at = 13, cpu = 4, stolen = 8 } }

  it("is that between two times, as if it had grown evenly in between", function()
    assert.same({ cpu = 2, stolen = 0 }, seconds.between(samples, 10, 11))
    assert.same({ cpu = 1.5, stolen = 4 }, seconds.between(samples, 10.5, 12))
  end)

  it("does not grow where nobody has looked", function()
    assert.same({ cpu = 3, stolen = 8 }, seconds.between(samples, 5, 20))
    assert.same({ cpu = 0, stolen = 0 }, seconds.between(samples, 14, 15))
  end)
end)

-- ---- an edge, a crowd ----

describe("an edge or a crowd", function()
  -- Ten seconds from 100 on; `answered` of each; a tenth of a processor all the time.
  local function phase(answered, from, to)
    local rows, samples = { began = 100 }, {}
    for i, n in ipairs(answered) do
      rows[i] = { from = 99 + i, to = 100 + i, made = 100, answered = n, refused = 100 - n,
        failed = 0, again = i, ended = n, lost = 0 }
    end
    for i = 0, #answered do
      samples[#samples + 1] = { at = 100 + i, cpu = i / 10, stolen = i > 5 and 0.5 or 0,
        periods = 100 * i, throttled = 50 * i, others = 0.7 * i, waited = 0.2 * i }
    end
    return rounds.phase(rows, samples, from, to)
  end

  it("is the median of its seconds, of which the first do not count", function()
    local p = phase({ 1, 2, 80, 82, 10, 81, 84, 83 }, 2, 8)
    assert.equal(81.5, p.answered)
    assert.equal(18.5, p.refused)
    assert.equal(5.5, p.again)
    assert.same({ 80, 83 }, p.quartiles)
    assert.equal(6, #p.seconds)
    assert.equal(10, p.seconds[3].answered)
    assert.equal(423, p.all.answered)
    assert.equal(800, p.all.made)
  end)

  it("says what there was of the machine", function()
    local p = phase({ 9, 9, 9, 9, 9, 9, 9, 9 }, 2, 8)
    assert.near(0.1, p.mean.cpu, 1e-9)
    assert.near(9, p.mean.answered, 1e-9)
    assert.near(0.5, p.throttled, 1e-9)
    assert.near(0.5 / 6, p.stolen, 1e-9)
    assert.near(0.5, p.seconds[4].stolen, 1e-9)
    assert.near(0.7, p.others, 1e-9)
    assert.near(0.2, p.waited, 1e-9)
  end)

  it("takes a line of sipp's that lasts longer for what it is", function()
    local rows = { began = 0, { from = 0, to = 2, made = 200, answered = 90, refused = 110,
      failed = 0, again = 0, ended = 0, lost = 0 } }
    local p = rounds.phase(rows, { { at = 0, cpu = 0, stolen = 0, periods = 0, throttled = 0,
      others = 0, waited = 0 }, { at = 2, cpu = 0.4, stolen = 0, periods = 0, throttled = 0,
      others = 0, waited = 0 } }, 0, 2)
    assert.equal(45, p.answered)
    assert.equal(100, p.made)
    assert.near(0.2, p.mean.cpu, 1e-9)
  end)

  it("is none without a whole second", function()
    assert.has_error(function() phase({ 1 }, 2, 8) end,
      "sipp has seen no whole second of those that count")
  end)
end)

-- ---- rounds ----

-- What a machine answers of so many offers, whose calls take `call` us and refusals `refusal`,
-- with a tenth of a processor.
local function answer(offered, call, refusal)
  local answered = math.min(offered, (1e5 - refusal * offered) / (call - refusal))
  local refused = offered - answered
  return { made = offered, answered = answered, refused = refused, again = 0,
    quartiles = { answered, answered }, throttled = 1, stolen = 0, others = 0.8, waited = 0.1,
    mean = { answered = answered, refused = refused,
      cpu = (answered * call + refused * refusal) / 1e6 },
    all = { answered = answered // 1 | 0, ended = answered // 1 | 0, lost = 0 } }
end

describe("an edge", function()
  it("is none when all was answered", function()
    assert.is_true(rounds.is_below { made = 1000, answered = 998 })
    assert.is_true(rounds.is_below { made = 1000, answered = 1002 }) -- some of the second before
    assert.is_false(rounds.is_below { made = 1000, answered = 960 })
  end)
end)

describe("a disturbed edge or crowd", function()
  it("is one in which a proxy that had more to do did not get its share", function()
    local function phase(cpu, answered)
      return { made = 100, answered = answered, mean = { cpu = cpu } }
    end
    assert.is_false(rounds.is_disturbed(phase(0.1, 50), 10))
    assert.is_false(rounds.is_disturbed(phase(0.091, 50), 10))
    assert.is_true(rounds.is_disturbed(phase(0.089, 50), 10))
    assert.is_true(rounds.is_disturbed(phase(0, 0), 10))
    assert.is_false(rounds.is_disturbed(phase(0.05, 99), 10)) -- there was no more to do
  end)
end)

describe("the cost", function()
  it("of a call and of a refusal is what explains the processor's time best", function()
    local cost = rounds.cost { answer(1250, 100, 10), answer(3000, 100, 10) }
    assert.near(100, cost.call, 1e-6)
    assert.near(10, cost.refusal, 1e-6)
    -- Three that do not agree: sum of squares by hand.
    cost = rounds.cost { { mean = { answered = 1, refused = 0, cpu = 10e-6 } },
      { mean = { answered = 0, refused = 1, cpu = 2e-6 } },
      { mean = { answered = 1, refused = 1, cpu = 15e-6 } } }
    assert.near(11, cost.call, 1e-6)
    assert.near(3, cost.refusal, 1e-6)
  end)

  it("is not known where nobody was refused, or always the same part", function()
    assert.is_nil(rounds.cost { answer(100, 100, 10), answer(200, 100, 10) })
    assert.is_nil(rounds.cost { { mean = { answered = 2, refused = 2, cpu = 0.1 } },
      { mean = { answered = 3, refused = 3, cpu = 0.1 } } })
    assert.is_nil(rounds.cost {})
  end)

  it("says what can remain", function()
    assert.near(0.7 / 0.9, rounds.remains(3, 0.1), 1e-9)
    assert.equal(1, rounds.remains(1, 0.1))
    assert.equal(0, rounds.remains(12, 0.1))
    assert.equal(0, rounds.remains(3, 1))
    assert.equal(0, rounds.remains(3, 2))
  end)
end)

describe("rounds", function()
  local calm = { made = 50, answered = 50, well_after = 1 }

  -- Rounds on a machine that was `speed` times as fast as usual at each edge and crowd in turn;
  -- `follows`: so much less is offered then.
  local function summary(speeds, carried, calms, follows)
    local edges, crowds = {}, {}
    for i, speed in ipairs(speeds) do
      local part = follows and speed or 1
      if i % 2 == 1 then
        edges[#edges + 1] = answer(1250 * part, 100 / speed, 10 / speed)
      else
        crowds[#crowds + 1] = answer(3000 * part, 100 / speed, 10 / speed)
        calms = calms or {}
        calms[#crowds] = calms[#crowds] or calm
      end
    end
    return rounds.summary(edges, crowds, calms, carried), edges, crowds
  end

  local edge = answer(1250, 100, 10).answered
  local crowd = answer(3000, 100, 10).answered

  it("compare a crowd with the edges before and after it", function()
    local s = summary { 1, 1, 1, 1, 1 }
    assert.near(edge, s.saturation, 1e-9)
    assert.near(crowd / edge, s.goodput, 1e-9)
    assert.near(3000 / edge, s.offered, 1e-9)
    assert.near(0.1, s.r, 1e-9)
    assert.near(rounds.remains(3000 / edge, 0.1), s.remains, 1e-9)
    assert.equal(2, #s.rounds)
    assert.equal(3 * (edge // 1) + 2 * (crowd // 1), s.all_answered)
    assert.equal(100, s.calm_made)
  end)

  it("know that what was carried may be more than the edges", function()
    local s = summary({ 1, 1, 1 }, 2 * edge)
    assert.near(2 * edge, s.saturation, 1e-9)
    assert.near(crowd / edge / 2, s.goodput, 1e-9)
    s = summary({ 1, 1, 1 }, edge / 2)
    assert.near(edge, s.saturation, 1e-9)
    assert.near(crowd / edge, s.goodput, 1e-9)
  end)

  it("are none when nothing was answered", function()
    local none = answer(1250, 1e9, 10)
    none.answered = 0
    none.all.answered = 0
    assert.has_error(function() rounds.summary({ none, none }, { none }, { calm }) end,
      "nothing was answered at the edge")
  end)

  it("are not decided by a machine that is away for one of them", function()
    local s = summary { 1, 1, 1, 0.4, 1, 1, 1, 1, 1, 1, 1 }
    assert.near(crowd / edge, s.goodput, 1e-9)
    assert.near(0.1, s.r, 1e-9)
    assert.is_true(s.rounds[2].goodput < 0.4 * crowd / edge)
    assert.near(s.goodput, s.spread.goodput[2], 1e-9)
    s = summary { 1, 1, 1, 1, 0.4, 1, 1, 1, 1, 1, 1 } -- an edge belongs to two of them
    assert.near(crowd / edge, s.goodput, 1e-9)
  end)

  it("are not decided by a machine that becomes slower and slower", function()
    local s = summary({ 1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7 }, nil, nil, true)
    for _, one in ipairs(s.rounds) do
      assert.near(crowd / edge, one.goodput, 1e-9)
      assert.near(3000 / edge, one.offered, 1e-9)
    end
  end)

  it("have the median and the worst time until all is well", function()
    local function after(n)
      return { made = 50, answered = 50, well_after = n }
    end
    local s = summary({ 1, 1, 1, 1, 1, 1, 1 }, nil, { after(2), after(9), after(1) })
    assert.equal(2, s.well_after)
    assert.equal(9, s.worst_well_after)
  end)

  it("say of each target whether it is reached", function()
    local s = summary { 1, 1, 1 }
    local lines = verdict.of_targets(s, { goodput = 0.7, well_after = 1 })
    assert.equal(3, #lines)
    assert.matches("^goodput 80.0 %% of saturation .* 70 %%: reached$", lines[1])
    assert.matches("^well after 1 s .* 1 s: reached$", lines[2])
    assert.matches("answered calls ended: reached$", lines[3])
    s.ended = s.ended - 1
    lines = verdict.of_targets(s, { goodput = 0.81, well_after = 0.5 })
    for _, one in ipairs(lines) do
      assert.matches(": NOT reached$", one)
    end
  end)

  it("do not say what a refusal costs when the machine was another one in the crowd", function()
    local s, edges, crowds = summary { 1, 2.2, 1 }
    s.edges, s.crowds, s.remains_at = edges, crowds, rounds.remains(3, s.r)
    assert.is_true(s.r < 0)
    local text = table.concat(verdict.lines { share = 10, times = 3, on = s }, "\n")
    assert.matches("\nwhat a refusal costs is not known", text)
    assert.not_matches("a refusal costs %-", text)
  end)

  it("are printed with all that explains them, and the targets at the end", function()
    local s, edges, crowds = summary { 1, 1, 1 }
    s.edges, s.crowds, s.remains_at = edges, crowds, rounds.remains(3, s.r)
    local off = rounds.crowd(crowds[1], calm, s.saturation)
    local lines = verdict.lines { share = 10, times = 3, carried = 900, on = s, off = off }
    local text = table.concat(lines, "\n")
    assert.matches("^saturation: 972 calls/s with 10 %% of a processor %(900 carried", text)
    assert.matches("\n  edge 1 +1250 +972 +972 to 972 +278 +0 +0 +100 %% +100 %% +0.0 %% ", text)
    assert.matches(" 0.80 +0.10\n  crowd 1 +3000 ", text)
    assert.matches("\n  median +3.09 times +80.0 %% +100.0 +10.0 +0.100 +76.8 %% +1 s\n", text)
    assert.matches("refusal costs 0.100 of a call: .* at most 78 %% .* 1000 calls/s", text)
    assert.matches("\n  overload = false +3000 +778 ", text)
    assert.matches(": reached$", text)
  end)
end)
