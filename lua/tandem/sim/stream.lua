-- The connections of an endpoint, over TCP or TLS: opening and reusing them, and
-- finding the messages in them (RFC 3261 18.3) and the keep-alives between them
-- (RFC 5626 4.4.1).
local address = require "tandem.sim.address"
local message = require "tandem.sim.message"
local error, ipairs, next, select = error, ipairs, next, select
local table, tonumber = table, tonumber

local _ENV = nil

local stream = {}

---@class tandem.sim.Connection
local methods = {}
methods.__index = methods

local function add(ua, side, fields)
  local conn = message.class({
    ua = ua, net = ua.net, side = side, buffer = "", awaited = 0,
    peer = fields.peer, transport = fields.transport,
    accepted = fields.accepted, state = fields.state,
  }, methods)
  ua.streams[side] = conn
  return conn
end

-- ---- what comes ----------------------------------------------------------

local function content_length(head)
  head = head:lower()
  return tonumber(head:match "\r\ncontent%-length[ \t]*:[ \t]*(%d+)[ \t]*\r\n"
    or head:match "\r\nl[ \t]*:[ \t]*(%d+)[ \t]*\r\n")
end

-- CRLF answers what we sent; two of them want an answer.
local function take_keepalive(conn)
  if conn.awaited > 0 and conn.buffer:find "^\r\n" then
    conn.awaited = conn.awaited - 1
    conn.ua.keepalives = conn.ua.keepalives + 1
    conn.buffer = conn.buffer:sub(3)
    return true
  elseif conn.buffer:find "^\r\n\r\n" then
    conn.buffer = conn.buffer:sub(5)
    conn.ua:answer_ping(conn)
    return true
  elseif conn.buffer:find "^\r\n." then
    conn.buffer = conn.buffer:sub(3)
    return true
  end
end

-- The next message, when all of it is there.
local function take_message(conn)
  local stop = select(2, conn.buffer:find("\r\n\r\n", 1, true))
  local length = stop and content_length(conn.buffer:sub(1, stop))
  if stop and not length then
    conn.ua:deliver(conn.peer, conn.buffer, conn)
    conn.buffer = ""
    return conn:reset()
  elseif not length or #conn.buffer < stop + length then
    return
  end
  local bytes = conn.buffer:sub(1, stop + length)
  conn.buffer = conn.buffer:sub(stop + length + 1)
  conn.ua:deliver(conn.peer, bytes, conn)
  return conn.state ~= "closed"
end

local function take(conn, bytes)
  conn.buffer = conn.buffer .. bytes
  repeat
    local more = take_keepalive(conn) or (not conn.buffer:find "^\r" and take_message(conn))
  until not more
end

local function note_end(conn, cause, text)
  conn.state, conn.cause = "closed", cause
  table.insert(conn.ua.ended, {
    time = conn.net.now, peer = conn.peer, transport = conn.transport, cause = cause,
    text = text ~= "" and text or nil,
  })
end

-- What the world tells of a connection of this endpoint.
function stream.on_event(ua, transport, kind, side, ...)
  local conn = ua.streams[side]
  if kind == "accept" then
    add(ua, side, { peer = ..., transport = transport, accepted = true, state = "up" })
  elseif kind == "down" then
    conn = conn or add(ua, side, { peer = "?", transport = transport, accepted = true })
    ua.streams[side] = nil
    note_end(conn, ...)
    ua:on_connection_lost(conn)
  elseif conn and kind == "up" then
    conn.state = "up"
  elseif conn then
    take(conn, ...)
  end
end

-- ---- what goes -----------------------------------------------------------

-- A new connection to "tcp:10.0.0.100:5060".
---@return tandem.sim.Connection
function stream.connect(ua, hop)
  local to = address.parse(hop)
  local socket = ua.sockets[to.transport]
  if not socket or to.transport == "udp" then
    error(("%s has no %s socket to reach %s"):format(ua.name, to.transport, hop), 0)
  end
  local side, from = ua.net.world:connect(socket.id, to.addr)
  ua.net.names[from] = ua.name
  return add(ua, side, { peer = to.addr, transport = to.transport, state = "opening" })
end

-- All that are open, oldest first.
---@return tandem.sim.Connection[]
function stream.list(ua)
  local sides, list = {}, {}
  for side in next, ua.streams do
    sides[#sides + 1] = side
  end
  table.sort(sides)
  for _, side in ipairs(sides) do
    list[#list + 1] = ua.streams[side]
  end
  return list
end

-- The one it opened to that hop, else a new one.
---@return tandem.sim.Connection
function stream.to(ua, hop)
  local to = address.parse(hop)
  for _, conn in ipairs(stream.list(ua)) do
    if not conn.accepted and conn.peer == to.addr and conn.transport == to.transport then
      return conn
    end
  end
  return stream.connect(ua, hop)
end

-- Sends bytes as they are, in pieces of n bytes each; with `every` so many seconds
-- apart.
---@param bytes string
---@param n integer?
---@param every number?
---@return tandem.sim.Connection self
function methods:send(bytes, n, every)
  if not (n and every) then
    self.net.world:write(self.side, bytes, n)
    return self
  end
  for at = 1, #bytes, n do
    self.ua:after(every * ((at - 1) // n), function()
      self.net.world:write(self.side, bytes:sub(at, at + n - 1))
    end)
  end
  return self
end

-- A keep-alive that wants an answer; endpoint.keepalives counts those.
function methods:ping()
  self.awaited = self.awaited + 1
  self:send "\r\n\r\n"
end

local function forget(self)
  self.state = "closed"
  self.ua.streams[self.side] = nil
end

-- After what was sent.
function methods:close()
  forget(self)
  self.net.world:finish(self.side)
end

function methods:reset()
  forget(self)
  self.net.world:reset(self.side)
end

return stream
