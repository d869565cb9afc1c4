-- A headless Chromium, driven by chromedriver's HTTP interface (W3C WebDriver).
--
--   local browser = browser.start()
--   browser:open "http://127.0.0.1:9091/"
--   browser:run "return document.title"
local cjson = require "cjson"
local process = require "support.process"
local sh = require "support.sh"
local error, io, ipairs, next, pairs = error, io, ipairs, next, pairs
local setmetatable, string, table, tostring, type = setmetatable, string, table, tostring, type

local _ENV = nil

local browser = {}
local Browser = {}
Browser.__index = Browser

local base64 = {}
for i = 1, 64 do
  local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  base64[string.byte(alphabet, i)] = i - 1
end

local function decode_base64(text)
  return (string.gsub(text, "(%S)(%S)(%S)(%S)", function(a, b, c, d)
    local n = 0
    for _, char in ipairs { a, b, c, d } do
      n = n << 6 | (base64[string.byte(char)] or 0)
    end
    return string.sub(string.char(n >> 16, n >> 8 & 255, n & 255), 1,
      c == "=" and 1 or d == "=" and 2 or 3)
  end))
end

-- One command; gives its value.
function Browser:command(method, path, body)
  local words = { "curl", "-sS", "-m", "30", "-X", method, self.at .. path }
  if body then
    words[#words + 1] = "--data-binary"
    words[#words + 1] = "@" .. process.write("command.json", cjson.encode(body))
  end
  for i, word in ipairs(words) do
    words[i] = sh.quote(word)
  end
  local ok, output = sh.run(table.concat(words, " "))
  if not ok then
    error("chromedriver does not answer: " .. output, 2)
  end
  local value = cjson.decode(output).value
  if type(value) == "table" and value.error then
    error(("%s: %s: %s"):format(path, value.error, value.message), 2)
  end
  return value
end

-- A command of the DevTools protocol.
function Browser:devtools(name, params)
  local empty = cjson.decode "{}"
  return self:command("POST", "/goog/cdp/execute", { cmd = name, params = params or empty })
end

function browser.start()
  local port = process.ports(1)
  local self = setmetatable({ at = ("http://127.0.0.1:%d"):format(port) }, Browser)
  self.driver = process.start {
    name = "chromedriver", argv = { "chromedriver", "--port=" .. port },
  }
  self.driver:wait_bound(port, "tcp")
  local session = self:command("POST", "/session", {
    capabilities = { alwaysMatch = {
      browserName = "chrome",
      ["goog:chromeOptions"] = {
        -- Whoever runs specs may be root, in a container without user namespaces.
        args = { "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
          "--hide-scrollbars", "--no-first-run", "--disable-background-networking" },
      },
      ["goog:loggingPrefs"] = { browser = "ALL", performance = "ALL" },
    } },
  })
  self.at = self.at .. "/session/" .. session.sessionId
  return self
end

function Browser:open(url)
  self:command("POST", "/url", { url = url })
end

-- Runs JavaScript in the page; gives what it returns.
function Browser:run(script)
  -- The list of arguments must be there, and cjson writes an empty one as an object.
  return self:command("POST", "/execute/sync", { script = script, args = { 0 } })
end

-- Waits until it returns something true, which it gives.
function Browser:wait(script, seconds)
  return process.eventually(seconds or 10, function()
    local value = self:run(script)
    return value ~= cjson.null and value
  end) or error(("%s\nis not true of:\n%s"):format(script,
    tostring(self:run "return document.body.innerText")), 2)
end

-- The size of a screen, and how it wants things: { scheme = "dark", motion = "reduce" }.
function Browser:show_on(width, height, wishes)
  self:devtools("Emulation.setDeviceMetricsOverride", {
    width = width, height = height, deviceScaleFactor = 1, mobile = width < 600,
  })
  local features = {}
  for name, value in pairs { ["color-scheme"] = wishes.scheme or "light",
    ["reduced-motion"] = wishes.motion or "no-preference" } do
    features[#features + 1] = { name = "prefers-" .. name, value = value }
  end
  self:devtools("Emulation.setEmulatedMedia", { media = "", features = features })
end

-- The window is put away, and is back.
function Browser:hide()
  self:command("POST", "/window/minimize", cjson.decode "{}")
end

function Browser:unhide()
  self:command("POST", "/window/rect", { width = 1280, height = 900 })
end

-- What somebody sees of an element, without JavaScript.
function Browser:text(selector)
  local found = self:command("POST", "/element", { using = "css selector", value = selector })
  local _, id = next(found)
  return self:command("GET", "/element/" .. id .. "/text")
end

-- The whole page as a PNG.
function Browser:screenshot(path)
  local shot = self:devtools("Page.captureScreenshot", {
    format = "png", captureBeyondViewport = true,
  })
  local file = io.open(path, "wb") or error("cannot write " .. path, 2)
  file:write(decode_base64(shot.data))
  file:close()
end

-- What the page has complained about since the last time: errors and warnings.
function Browser:complaints()
  local list = {}
  for _, entry in ipairs(self:command("POST", "/se/log", { type = "browser" })) do
    if entry.level == "SEVERE" or entry.level == "WARNING" then
      list[#list + 1] = entry.message
    end
  end
  return list
end

-- The URLs that were asked for since the last time.
function Browser:requested()
  local list = {}
  for _, entry in ipairs(self:command("POST", "/se/log", { type = "performance" })) do
    local message = cjson.decode(entry.message).message
    if message.method == "Network.requestWillBeSent" then
      list[#list + 1] = message.params.request.url
    end
  end
  return list
end

function Browser:stop()
  self:command("DELETE", "")
end

return browser
