-- The beginning of a text, without half a character of UTF-8 at its end.

local _ENV = nil

---@param text string
---@param most integer bytes
---@return string
return function(text, most)
  local last = most
  while #text > most and last > 0 and text:find("^[\x80-\xBF]", last + 1) do
    last = last - 1
  end
  return text:sub(1, last)
end
