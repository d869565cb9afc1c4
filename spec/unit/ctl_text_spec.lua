-- How `tandem ctl` writes and reads: spans of time, widths, tables, what terminals must
-- not see.
local duration = require "tandem.command.duration"
local text = require "tandem.command.text"

describe("a duration", function()
  for written, seconds in pairs {
    ["30s"] = 30, ["5m"] = 300, ["2h"] = 7200, ["1d"] = 86400, ["1h30m"] = 5400, ["90"] = 90,
    ["0.5s"] = 0.5, ["1.5h"] = 5400, ["1d2h3m4s"] = 93784,
  } do
    it("is read: " .. written, function()
      assert.equal(seconds, duration.parse(written))
    end)
  end

  for _, written in ipairs { "", "x", "5 m", "-5m", "5M", "m5", "1e3", "inf", "nan", "0x10" } do
    it(("is none: '%s'"):format(written), function()
      local seconds, why = duration.parse(written)
      assert.is_nil(seconds)
      assert.is_string(why)
    end)
  end

  it("is more than nothing", function()
    assert.same({ nil, "a duration is more than 0" }, { duration.parse "0s" })
  end)

  for seconds, written in pairs {
    [0] = "0 s", [-3] = "0 s", [42.4] = "42 s", [119] = "119 s", [119.6] = "2 min",
    [240] = "4 min", [7139] = "119 min", [7200] = "2 h", [171000] = "2 d", [170000] = "47 h",
    [86400 * 400] = "400 d",
  } do
    it("is written: " .. written .. " of " .. seconds, function()
      assert.equal(written, duration.text(seconds))
    end)
  end

  it("is short where it matters", function()
    assert.same({ "12 ms", "0.2 ms", "0.0 ms", "1.24 s", "1.00 s", "2 min" }, {
      duration.short(0.0124), duration.short(0.00021), duration.short(0), duration.short(1.236),
      duration.short(0.9996), duration.short(130),
    })
  end)
end)

describe("text", function()
  it("has no control characters", function()
    assert.equal("a\\x1B[31mb\\x07\\x0A\\x7F", text.clean "a\27[31mb\a\n\127")
    assert.equal("\\xC2\\x9B31m", text.clean "\u{9B}31m") -- CSI in one character
    assert.equal("\\xE2\\x80\\xAEtxt", text.clean "\u{202E}txt") -- turns the line around
    assert.equal("\\xE2\\x81\\xA6x", text.clean "\u{2066}x")
    assert.equal("\\x00", text.clean "\0")
  end)

  it("stays as it is where it is text", function()
    for _, s in ipairs { "", "plain", "Zürich", "東京", "a–b", "🙂" } do
      assert.equal(s, text.clean(s))
    end
  end)

  it("that is no UTF-8 is shown byte by byte", function()
    assert.equal("a\\xFFb\\xC3", text.clean "a\xFFb\xC3")
    assert.equal("\\xED\\xA0\\x80", text.clean "\xED\xA0\x80")
  end)

  it("has a width in columns", function()
    for s, width in pairs {
      [""] = 0, abc = 3, ["Zürich"] = 6, ["東京"] = 4, ["e\u{301}"] = 1, ["🙂"] = 2, ["ﬁ"] = 1,
    } do
      assert.same({ s, width }, { s, text.width(s) })
    end
  end)

  it("is cut by columns and not within a character", function()
    assert.equal("abc", text.cut("abc", 3))
    assert.equal("ab…", text.cut("abcd", 3))
    assert.equal("…", text.cut("abcd", 1))
    assert.equal("東…", text.cut("東京都", 4))
    assert.equal("東京都", text.cut("東京都", 6))
    assert.equal("…", text.cut("東京", 2))
    assert.equal("Zür…", text.cut("Zürich", 4))
  end)

  it("counts", function()
    assert.same({ "0 calls", "1 call", "2 calls" },
      { text.count(0, "call"), text.count(1, "call"), text.count(2, "call") })
  end)
end)

describe("a table", function()
  local heads = {
    { title = "NAME" }, { title = "N", align = "right" }, { title = "OPT", drop = 1 },
    { title = "WHY", least = 6 },
  }
  local rows = {
    { "a", "1", "x", "because of the weather" },
    { "東京", "1000", "", "" },
    { "Zürich", "22", "yy", "no" },
  }

  it("has aligned columns, whatever is in them", function()
    assert.equal([[
NAME       N  OPT  WHY
a          1  x    because of the weather
東京    1000
Zürich    22  yy   no
]], text.table(heads, rows))
  end)

  it("cuts what may be cut to fit", function()
    assert.equal([[
NAME       N  OPT  WHY
a          1  x    because…
東京    1000
Zürich    22  yy   no
]], text.table(heads, rows, { width = 27 }))
  end)

  it("leaves a column out where that is not enough", function()
    assert.equal([[
NAME       N  WHY
a          1  becau…
東京    1000
Zürich    22  no
]], text.table(heads, rows, { width = 19 }))
  end)

  it("never cuts names and numbers", function()
    local narrow = text.table(heads, rows, { width = 5 })
    assert.matches("Zürich", narrow, 1, true)
    assert.matches("1000", narrow, 1, true)
  end)

  it("leaves out a column in which nothing stands", function()
    assert.equal("A  C\n1  3\n", text.table({ { title = "A" }, { title = "B" }, { title = "C" } },
      { { "1", "", "3" } }))
  end)

  it("is indented", function()
    assert.equal("  A\n  1\n", text.table({ { title = "A" } }, { { "1" } }, { indent = "  " }))
  end)

  it("has colours only when asked for", function()
    local row = { "down", colours = { "red" } }
    assert.equal("S\ndown\n", text.table({ { title = "S" } }, { row }))
    assert.equal("\27[2mS\27[0m\n\27[31mdown\27[0m\n",
      text.table({ { title = "S" } }, { row }, { paint = text.painter(true) }))
  end)

  it("shows nothing that a terminal would obey", function()
    assert.equal("S\n\\x1B]0;x\n", text.table({ { title = "S" } }, { { "\27]0;x" } }))
  end)
end)
