-- The command line of `tandem ctl`, and since when a server is what it is.
local args = require "tandem.command.ctl.args"
local status_since = require "tandem.health.status_since"

local verb = {
  { name = "reason", value = "TEXT", help = "why" },
  { name = "wait", value = "S", default = 7, parse = tonumber, help = "wait" },
  { name = "follow", letter = "f", help = "go on" },
}

local function parse(...)
  return args.parse({ ... }, function(words)
    return words[1] == "go" and verb or {}
  end)
end

local function refuses(text, ...)
  local ok, problem = pcall(parse, ...)
  assert.is_false(ok)
  assert.same({ 2, text }, { problem.code, problem.text })
end

describe("the command line", function()
  it("tells words from options, wherever they stand", function()
    for _, list in ipairs {
      { "-s", "/x", "go", "a/b", "--reason", "no idea", "-f" },
      { "go", "--reason=no idea", "a/b", "-f", "--socket", "/x" },
      { "-s/x", "go", "-f", "--reason", "no idea", "--", "a/b" },
    } do
      local words, options = parse(table.unpack(list))
      assert.same({ "go", "a/b" }, words)
      assert.same({ socket = "/x", reason = "no idea", follow = true }, options)
    end
  end)

  it("lets a value be left out where it has a default", function()
    assert.same({ wait = 7 }, select(2, parse("go", "--wait", "a/b")))
    assert.same({ wait = 30 }, select(2, parse("go", "--wait=30", "a/b")))
    assert.same({ "go", "a/b" }, (parse("go", "--wait", "a/b")))
  end)

  it("takes what follows -- as it is", function()
    assert.same({ "go", "-f", "--", "-" }, (parse("go", "--", "-f", "--", "-")))
  end)

  it("says what is wrong", function()
    refuses("unknown option '--resaon'; did you mean '--reason'?", "go", "--resaon", "x")
    refuses("unknown option '--reason'", "--reason", "x")
    refuses("unknown option '-x'", "go", "-x")
    refuses("--reason needs a value: TEXT", "go", "--reason")
    refuses("--follow takes no value", "go", "--follow=1")
    refuses("--output: text or json, not 'xml'", "go", "-o", "xml")
  end)

  it("knows a server from a pool", function()
    assert.same({ "p", "s" }, { args.server "p/s" })
    assert.same({ "p" }, { args.server("p", true) })
    for _, word in ipairs { "p", "p/", "/s", "p/s/t", "/", "" } do
      local ok, problem = pcall(args.server, word)
      assert.is_false(ok)
      assert.equal(("a server is POOL/NAME, not '%s'"):format(word), problem.text)
    end
  end)

  it("knows what can be set", function()
    assert.same({ "weight", "5" }, { args.assignment("weight=5", { "weight", "max_calls" }) })
    for word, text in pairs {
      ["weight"] = "weight=N or max_calls=N is expected, not 'weight'",
      ["wieght=5"] = "there is no 'wieght'; did you mean 'weight'?",
      ["x=5"] = "there is no 'x'; there is weight, max_calls",
    } do
      local _, problem = pcall(args.assignment, word, { "weight", "max_calls" })
      assert.equal(text, problem.text)
    end
  end)
end)

describe("the status of a server", function()
  local function since(status, ...)
    return status_since(status, { ... }, 1000)
  end
  local function health(time, to)
    return { time = time, what = "health", to = to }
  end
  local function admin(time, to)
    return { time = time, what = "admin", to = to }
  end
  local function hold(time, seconds, why)
    return { time = time, what = "hold", seconds = seconds, why = why or "503" }
  end

  it("is since its last change", function()
    assert.equal(30, since("down", health(10, "up"), health(30, "down")))
  end)

  it("is not what the health is on its way", function()
    assert.equal(30, since("down", health(10, "up"), health(20, "falling"), health(30, "down"),
      health(40, "rising"), health(50, "down"), health(60, "rising")))
    assert.equal(10, since("up", health(5, "down"), health(10, "up"), health(20, "falling"),
      health(30, "up")))
  end)

  it("is that of the order as long as there is one", function()
    assert.equal(20, since("drain", health(10, "up"), admin(20, "drain"), health(30, "down")))
    assert.equal(40, since("down", health(10, "up"), admin(20, "drain"), health(30, "down"),
      admin(40, "ready")))
    assert.equal(50, since("up", admin(20, "drain"), health(30, "up"), admin(50, "ready")))
  end)

  it("is held until a hold ends, by an order or by its time", function()
    assert.equal(20, since("held", health(10, "up"), hold(20, 5000)))
    assert.equal(50, since("up", health(10, "up"), hold(20, 30)))
    assert.equal(25, since("up", health(10, "up"), hold(20, 30), hold(25, 0)))
    assert.equal(60, since("up", health(10, "up"), hold(20, 30), hold(30, 30, "passive")))
    assert.equal(20, since("held", health(10, "up"), hold(20, nil)))
  end)

  it("is held back from when it came up, and up when that is over", function()
    assert.equal(40, since("held", health(10, "down"), health(40, "up")))
    assert.equal(70, since("up", health(10, "down"), health(40, "up"), hold(70, 0, "failback")))
  end)

  it("is not known when nothing tells", function()
    assert.is_nil(since "up")
    assert.is_nil(since("down", health(10, "up")))
  end)
end)
