-- Make sure that a group of readers exists, and step over what was trimmed before the group read it.
-- KEYS: stream. ARGV: group.
-- Returns {} or {last entry that the group was given, oldest entry kept, how many in between ("" = unknown)}.
-- In one step, so that only one of several readers reports the gap.
local function fields(flat)
  local found = {}
  for n = 1, #flat, 2 do found[flat[n]] = flat[n + 1] end
  return found
end
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq), ms, seq
end

local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
local stream = info.err and {length = 0} or fields(info)
-- Server versions before 7 do not count what was ever added.
local added = tonumber(stream['entries-added'])
local removed = added and added - stream['length']
local group
if not info.err then
  for _, entry in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local one = fields(entry)
    if one['name'] == ARGV[1] then group = one end
  end
end
if not group then
  -- Counted from the oldest entry kept, so that a group that has read nothing sees a gap too.
  local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM', 'ENTRIESREAD', removed or 0)
  if made.err then redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM') end
  return {}
end
if stream['length'] == 0 or removed == 0 then return {} end

local first, last = stream['first-entry'][1], group['last-delivered-id']
local first_ms, first_seq, ms, seq = parts(first)
local last_ms, last_seq = parts(last)
if last_ms > first_ms or (last_ms == first_ms and last_seq >= first_seq) then return {} end
local before = ms .. '-' .. string.format('%.0f', first_seq - 1)
if first_seq == 0 then before = string.format('%.0f', first_ms - 1) .. '-18446744073709551615' end
if last == before then return {} end

local read = tonumber(group['entries-read'])
local missing = ''
if added and read then
  missing = removed - read
  if missing <= 0 then return {} end
elseif last == '0-0' then
  return {}  -- whoever made the group did not say that it begins with what is kept; nor do we know better
end
if added then
  redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], before, 'ENTRIESREAD', removed)
else
  redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], before)
end
return {last, first, missing}
