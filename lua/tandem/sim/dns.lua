-- DNS of a simulation: names and their records as a test writes them, and the answers
-- a server would give, as real messages (RFC 1035), so that what reads them is tested
-- too.
--
--   ["pbx.example.com"] = "10.0.0.1"                                   A
--   ["pbx.example.com"] = { "10.0.0.1", "2001:db8::1", ttl = 60 }      A, AAAA
--   ["_sip._udp.example.com"] = {
--     { priority = 1, weight = 60, port = 5060, target = "a.example.com" },
--   }                                                                  SRV
--   ["example.com"] = { { order = 10, preference = 50, flags = "s",
--     service = "SIP+D2U", replacement = "_sip._udp.example.com" } }   NAPTR
--   ["www.example.com"] = { cname = "example.com" }                    CNAME
--   ["mute.example.com"] = { fail = "servfail" }
local message = require "tandem.sim.message"
local error, ipairs, next, string, table = error, ipairs, next, string, table
local tonumber, type = tonumber, type

local _ENV = nil

local dns = {}

local default_ttl, default_negative = 60, 60
local max_chain = 16 -- of CNAME; what follows is cut off, as by a resolver

local types = { [1] = "A", [5] = "CNAME", [28] = "AAAA", [33] = "SRV", [35] = "NAPTR" }
local numbers = { A = 1, CNAME = 5, SOA = 6, AAAA = 28, SRV = 33, NAPTR = 35 }
local rcodes = { servfail = 2, nxdomain = 3, refused = 5 }
local failures = { servfail = true, refused = true, silent = true, garbage = true }

-- The word for a type's number.
function dns.type_name(number)
  return types[number] or ("%d"):format(number)
end

-- ---- what a test writes --------------------------------------------------

local set_options = { ttl = true, negative = true, fail = true }
local record_fields = {
  CNAME = { cname = true, ttl = true },
  SRV = { priority = true, weight = true, port = true, target = true, ttl = true },
  NAPTR = {
    order = true, preference = true, flags = true, service = true, regexp = true,
    replacement = true, ttl = true,
  },
  address = { address = true, ttl = true },
}

-- Of a record; nil: it is none.
local function type_of(record)
  if type(record) == "string" then
    return record:find ":" and "AAAA" or "A"
  elseif type(record) ~= "table" then
    return nil
  elseif record.address then
    return type_of(record.address)
  end
  return record.cname and "CNAME" or record.target and "SRV" or record.service and "NAPTR"
end

local function check_record(name, record)
  local kind = type_of(record)
  if not kind then
    error(("dns: a record of %s is no address and has no target, service or cname")
      :format(name), 0)
  end
  for field in message.sorted(type(record) == "table" and record or {}) do
    if not (record_fields[kind] or record_fields.address)[field] then
      error(("dns: %s of %s has no field '%s'"):format(kind, name, field), 0)
    end
  end
end

local function check_set(name, set)
  local options = {}
  for key, value in next, set do
    if type(key) == "string" then
      options[key] = value
    else
      check_record(name, value)
    end
  end
  for option in message.sorted(options) do
    if not set_options[option] then
      error(("dns: %s has an unknown option '%s'"):format(name, option), 0)
    end
  end
  if set.fail and not failures[set.fail] then
    error(("dns: %s cannot fail by '%s'"):format(name, set.fail), 0)
  end
end

local function key_of(name)
  return (name:lower():gsub("%.$", ""))
end

-- What `zone` says of a name from now on; nil: it does not exist.
---@param zone table
---@param name string
---@param records string|table|nil
function dns.set(zone, name, records)
  if records and type_of(records) then
    records = { records }
  end
  if records then
    check_set(name, records)
  end
  zone[key_of(name)] = records
end

-- The first address of a name as a URI has it, for endpoints, which do not ask for
-- SRV.
function dns.address(zone, name)
  local set = zone[key_of(name)]
  for _, record in ipairs(set or {}) do
    local kind = type_of(record)
    local ip = record.address or record
    if kind == "CNAME" then
      return dns.address(zone, record.cname)
    elseif kind == "A" or kind == "AAAA" then
      return kind == "A" and ip or "[" .. ip .. "]"
    end
  end
end

-- ---- on the wire ---------------------------------------------------------

local function pack_name(name)
  local parts = {}
  for label in name:gmatch "[^.]+" do
    if #label > 63 then
      error("dns: a label of " .. name .. " is too long", 0)
    end
    parts[#parts + 1] = string.pack("s1", label)
  end
  return table.concat(parts) .. "\0"
end

local function pack_v4(ip)
  local a, b, c, d = ip:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"
  if not a then
    error("dns: not an address: " .. ip, 0)
  end
  return string.pack("BBBB", tonumber(a), tonumber(b), tonumber(c), tonumber(d))
end

local function pack_groups(text)
  local groups = {}
  for group in text:gmatch "[^:]+" do
    groups[#groups + 1] = string.pack(">I2", tonumber(group, 16))
  end
  return table.concat(groups)
end

local function pack_v6(ip)
  local head, tail = ip:match "^(.-)::(.*)$"
  head, tail = pack_groups(head or ip), pack_groups(tail or "")
  return head .. ("\0"):rep(16 - #head - #tail) .. tail
end

local pack_data = {
  A = function(record)
    return pack_v4(record.address or record)
  end,
  AAAA = function(record)
    return pack_v6(record.address or record)
  end,
  CNAME = function(record)
    return pack_name(record.cname)
  end,
  SRV = function(record)
    return string.pack(">I2I2I2", record.priority or 0, record.weight or 0,
      record.port or 5060) .. pack_name(record.target)
  end,
  NAPTR = function(record)
    return string.pack(">I2I2s1s1s1", record.order or 0, record.preference or 0,
      record.flags or "s", record.service, record.regexp or "")
      .. pack_name(record.replacement or ".")
  end,
}

-- A message under way. Owners that were written before become pointers to there.
local function write_record(msg, owner, kind, ttl, data)
  local at = msg.names[owner]
  if at then
    owner = string.pack(">I2", 0xc000 + at)
  else
    if msg.size < 0x4000 then
      msg.names[owner] = msg.size
    end
    owner = pack_name(owner)
  end
  local bytes = owner .. string.pack(">I2I2I4s2", numbers[kind], 1, ttl, data)
  msg.size = msg.size + #bytes
  table.insert(msg, bytes)
end

local function finish(msg, rcode, answers, authorities)
  local head = string.pack(">I2I2I2I2I2I2", 0, 0x8180 + rcode, 1, answers, authorities, 0)
  return head .. table.concat(msg)
end

-- RFC 2308: how long it is good to know that there is nothing.
local function write_soa(msg, name, negative)
  local zone = name:match "^[^.]+%.(.+)$" or name
  write_record(msg, zone, "SOA", negative, pack_name("ns." .. zone)
    .. pack_name("hostmaster." .. zone)
    .. string.pack(">I4I4I4I4I4", 1, 3600, 600, 86400, negative))
end

local function find_cname(set)
  for _, record in ipairs(set) do
    if type_of(record) == "CNAME" then
      return record
    end
  end
end

-- Writes what there is of a type, along the aliases. Returns how many records, the
-- name it ended at, and its set.
local function write_answers(zone, msg, name, kind)
  local n = 0
  local set = zone[name]
  for _ = 1, max_chain do
    local alias = set and kind ~= "CNAME" and find_cname(set)
    if not alias then
      break
    end
    write_record(msg, name, "CNAME", alias.ttl or set.ttl or default_ttl,
      pack_data.CNAME(alias))
    n, name = n + 1, key_of(alias.cname)
    set = zone[name]
  end
  local found = 0
  for _, record in ipairs(set or {}) do
    if type_of(record) == kind then
      write_record(msg, name, kind, record.ttl or set.ttl or default_ttl,
        pack_data[kind](record))
      found = found + 1
    end
  end
  return n + found, found, name, set
end

-- The answer of a server to a question. nil: there is none.
---@param zone table
---@param name string
---@param number integer the type
---@param fail string? "servfail", "refused", "silent", "garbage": whatever it asks
---@return string? bytes
function dns.answer(zone, name, number, fail)
  name = key_of(name)
  local set = zone[name]
  fail = fail or (set and set.fail)
  local question = pack_name(name) .. string.pack(">I2I2", number, 1)
  local msg = { question, size = 12 + #question, names = { [name] = 12 } }
  if fail == "silent" then
    return nil
  elseif fail == "garbage" then
    return finish(msg, 0, 7, 0):sub(1, -4)
  elseif fail then
    return finish(msg, rcodes[fail], 0, 0)
  end
  local n, found, last, there = write_answers(zone, msg, name, types[number])
  if found > 0 then
    return finish(msg, 0, n, 0)
  end
  write_soa(msg, last, there and there.negative or default_negative)
  return finish(msg, there and 0 or rcodes.nxdomain, n, 1)
end

return dns
