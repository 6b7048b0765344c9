-- Take an event for processing. An event that came past the ledger (a raw queue message) enters it here.
-- KEYS: pending, record, verdict. ARGV: key, event, queue, lease (s).
-- Returns {"claimed", attempt, accepted at, now, "1" if an earlier try harmed a worker, held off since ("" = it is
-- not)}, or {"answered"} (has its verdict), or {"busy"} (another worker holds it and its lease has not run out).
if redis.call('EXISTS', KEYS[3]) == 1 then return {'answered'} end
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local state = redis.call('HGET', KEYS[2], 'state')
if state == 'started' then
  local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if due and tonumber(due) > now then return {'busy'} end
elseif not state then
  redis.call('HSET', KEYS[2], 'event', ARGV[2], 'queue', ARGV[3], 'attempts', 0,
    'accepted_at', string.format('%.6f', now))
end
redis.call('HSET', KEYS[2], 'state', 'started')
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), ARGV[1])
return {'claimed', redis.call('HINCRBY', KEYS[2], 'attempts', 1), redis.call('HGET', KEYS[2], 'accepted_at'),
  string.format('%.6f', now), redis.call('HGET', KEYS[2], 'harmed') or '',
  redis.call('HGET', KEYS[2], 'held_off_since') or ''}
