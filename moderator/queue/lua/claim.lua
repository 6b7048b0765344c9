-- Take an event for processing. An event that came past the ledger (a raw queue message) enters it here.
-- KEYS: pending, record, verdict, pending bytes. ARGV: key, event, queue, lease (s), token, record prefix, verdict prefix.
-- Returns {"claimed", attempt, seconds since it was accepted, "1" if an earlier attempt harmed a worker, seconds for which
-- it has waited for something unavailable, "1" if its record is of a version that did not know `bulk`, how many holders
-- in a row let their lease run out}, {"answered"} (it has its verdict), or {"busy"} (another worker holds its lease). The
-- same token gets the same answer, as the first one may have got lost.
local mistake = wrong(KEYS[1], 'zset')
if mistake then return mistake end
local key, record = ARGV[1], KEYS[2]
if is(KEYS[3], 'string') then
  close(KEYS[1], record, KEYS[4], key)
  return {'answered'}
end
local before = key_before_bulk(key)
if before and not is(record, 'hash') then
  if answered_before_bulk(ARGV[7] .. before) then return {'answered'} end
  if kept_before_bulk(ARGV[6] .. before, ARGV[2]) then key, record = before, ARGV[6] .. before end
end
local fields = {}
if is(record, 'hash') then
  fields = redis.call('HMGET', record, 'state', 'token', 'attempts', 'accepted_at', 'harmed', 'held_off_since',
    'version', 'losses')
end
local state, known = fields[1], fields[1] and true or false
local accepted, held_off_since = tonumber(fields[4] or now) or now, tonumber(fields[6] or now) or now
local again = state == 'started' and fields[2] == ARGV[5]
if state == 'started' and not again then
  local due = redis.call('ZSCORE', KEYS[1], key)
  if due and tonumber(due) > now then return {'busy'} end
end
-- What a holder lost is no attempt of the event: it may merely have been in the same worker as another that failed.
local lost = state == 'started' and not again
local attempt = whole(fields[3]) + ((again or lost) and 0 or 1)
local losses = whole(fields[8]) + (lost and 1 or 0)
if not known then
  redis.call('DEL', record)
  redis.call('HSET', record, 'version', VERSION, 'event', ARGV[2], 'queue', ARGV[3], 'accepted_at', seconds(now))
end
redis.call('HSET', record, 'state', 'started', 'token', ARGV[5], 'attempts', string.format('%d', attempt))
if lost then redis.call('HSET', record, 'losses', losses) end
redis.call('HDEL', record, 'deliveries')
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), key)
return {'claimed', attempt, seconds(math.max(0, now - accepted)), fields[5] or '',
  seconds(math.max(0, now - held_off_since)), (known and not fields[7]) and '1' or '', losses}
