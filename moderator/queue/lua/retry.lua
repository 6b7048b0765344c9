-- Return an event to the ledger, which requeues it after the delay. Only the holder can.
-- KEYS: pending, record. ARGV: key, token, delay (s), then 0 or 1 each: whether this try harmed a worker, whether it
-- counts, and whether the event waits for something unavailable: the record keeps since when, until a try fails for
-- another reason. Returns 1, or 0 if the event is not held with this token.
local mistake = wrong(KEYS[1], 'zset')
if mistake then return mistake end
if not is(KEYS[2], 'hash') then return 0 end
local fields = redis.call('HMGET', KEYS[2], 'state', 'token', 'attempts')
if fields[1] ~= 'started' or (fields[2] or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[2], 'state', 'waiting')
redis.call('HDEL', KEYS[2], 'token', 'losses')
if ARGV[4] == '1' then redis.call('HSET', KEYS[2], 'harmed', '1') end
if ARGV[5] == '0' then
  redis.call('HSET', KEYS[2], 'attempts', string.format('%d', math.max(0, whole(fields[3]) - 1)))
end
if ARGV[6] == '1' then
  redis.call('HSETNX', KEYS[2], 'held_off_since', seconds(now))
elseif ARGV[5] == '1' then
  redis.call('HDEL', KEYS[2], 'held_off_since')
end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
return 1
