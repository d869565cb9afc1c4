-- docs/reference/rfc-conformance.md says what sources and specs say.
local conformance = require "support.conformance"
local references = require "support.references"
local tree = require "support.tree"

-- "17.1.1.2 18.3" for what a text refers to; with another RFC than 3261 "3581/4".
local function refer(text)
  local list = {}
  for _, ref in ipairs(references.parse(text)) do
    if ref.section ~= "-" then
      list[#list + 1] = (ref.rfc ~= 3261 and ref.rfc .. "/" or "") .. ref.section
    end
  end
  return table.concat(list, " | ")
end

describe("a reference to an RFC", function()
  for text, wanted in pairs {
    ["Sends the request (17.1.1.2, 17.1.2.2)."] = "17.1.1.2 | 17.1.2.2",
    ["RFC 3581 4: always"] = "3581/4",
    ["RFC 3263 section 4, and 5 for responses"] = "3263/4 | 3263/5",
    ["RFC 4320 4.2, 4.3: no 408"] = "4320/4.2 | 4320/4.3",
    ["(RFC 3261 16.6 steps 7 to 9): for which"] = "16.6 step 7 | 16.6 step 8 | 16.6 step 9",
    ["16.7 steps 6-7"] = "16.7 step 6 | 16.7 step 7",
    ["16.6 steps 4 and 6"] = "16.6 step 4 | 16.6 step 6",
    ["RFC 6026 7.1, RFC 3261 16.7 step 5."] = "6026/7.1 | 16.7 step 5",
    ["checklist 4, semantics 17, RFC 3261"] = "",
    ["up to 8, RFC 5393 asks for no more. 4 of them"] = "",
    ["RFC 3326: why 2 of 3"] = "",
    ["given up after 7.5 s, with 17.1 ms more"] = "",
  } do
    it(("in '%s' is read"):format(text), function()
      assert.equal(wanted, refer(text))
    end)
  end
end)

describe("docs/reference/rfc-conformance.md", function()
  local text, wrong = conformance.render()

  it("has a source and a spec for all that is done, and a row for all that is named", function()
    assert.equal("", tree.report(wrong))
  end)

  it("is as `make rfc-conformance` writes it", function()
    assert(text == tree.read(conformance.page), "say: make rfc-conformance")
  end)

  it("covers what a proxy is asked", function()
    local count = 0
    for _ in text:gmatch "\n| [^|\n]+ | [^|\n]+ | yes |" do
      count = count + 1
    end
    assert(count > 100, count)
  end)
end)
