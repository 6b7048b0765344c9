-- Read on in the stream of verdicts, and see in the same step whether what comes next was trimmed.
-- KEYS: stream. ARGV: last entry read, most entries.
-- Returns {entries kept, oldest entry kept ("" = none), entries ever added ("" = unknown), {{id, {field, value, ...}}, ...}}.
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
local stream = {}
if not info.err then
  for n = 1, #info, 2 do stream[info[n]] = info[n + 1] end
elseif not is(KEYS[1], 'none') then
  return wrong(KEYS[1], 'stream')
end
local read = redis.call('XREAD', 'COUNT', ARGV[2], 'STREAMS', KEYS[1], ARGV[1])
-- Server versions before 7 do not count what was ever added.
return {stream['length'] or 0, stream['first-entry'] and stream['first-entry'][1] or '',
  stream['entries-added'] or '', read and read[1][2] or {}}
