-- Prepended to every other script. Redis does not undo what a script wrote before it failed, so each script checks
-- everything that could make it fail before it writes.

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000

-- The version in records. Those of versions that did not know `bulk` (see below) have none.
local VERSION = 2

local function seconds(time) return string.format('%.6f', time) end

-- Return an error reply if a key that events share has another type: wrong(key, type, key, ...). A foreign value at a
-- key of one event alone is overwritten.
local function wrong(...)
  local expected = {...}
  for i = 1, #expected, 2 do
    local found = redis.call('TYPE', expected[i]).ok
    if found ~= 'none' and found ~= expected[i + 1] then
      return redis.error_reply('WRONGTYPE ' .. expected[i] .. ' holds a ' .. found .. ', not a ' .. expected[i + 1])
    end
  end
end

-- Return a whole number that others may have written; anything else counts as 0.
local function whole(value) return math.floor(tonumber(value) or 0) end

local function is(key, kind) return redis.call('TYPE', key).ok == kind end

local function bytes_held(bytes) return is(bytes, 'string') and math.max(0, whole(redis.call('GET', bytes))) or 0 end

local function add_bytes(bytes, count)
  redis.call('SET', bytes, string.format('%d', math.max(0, bytes_held(bytes) + count)))
end

-- Remove an answered event from the ledger.
local function close(pending, record, bytes, key)
  local size = is(record, 'hash') and whole(redis.call('HGET', record, 'size')) or 0
  redis.call('DEL', record)
  redis.call('ZREM', pending, key)
  if redis.call('ZCARD', pending) == 0 then
    redis.call('DEL', bytes)
  elseif size > 0 then
    add_bytes(bytes, -size)
  end
end

-- Versions that did not know `bulk` named an image of a bulk event (`up/0`) as an event that is itself called `up/0`,
-- and what they wrote has no such field. Return their key of an event, or nil if it is the same.
local function key_before_bulk(key)
  local bulk, number = string.match(key, '^(.*:[^:]+)%%2F(%d+)$')
  return bulk and bulk .. '/' .. number
end

-- Return whether such a version published the verdict of that name, which does not show which of the two it is for.
local function answered_before_bulk(verdict)
  if not is(verdict, 'string') then return false end
  local read, fields = pcall(cjson.decode, redis.call('GET', verdict))
  return read and type(fields) == 'table' and fields['bulk'] == nil
end

-- Return whether such a version keeps this event under that name. The field comes last.
local function kept_before_bulk(record, event)
  if not is(record, 'hash') then return false end
  local fields = redis.call('HMGET', record, 'version', 'event')
  local field = string.match(event, '^.*(),"bulk":')
  return not fields[1] and field ~= nil and fields[2] == string.sub(event, 1, field - 1) .. '}'
end
