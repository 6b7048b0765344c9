-- Give an event back: the ledger puts it on the queue again after a while.
-- KEYS: pending, record. ARGV: key, delay (s), then 0 or 1 each: whether this try harmed a worker, whether it counts,
-- and whether the event waits for something that is away: the record keeps since when, until a try fails otherwise.
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
redis.call('HSET', KEYS[2], 'state', 'waiting')
if ARGV[3] == '1' then redis.call('HSET', KEYS[2], 'harmed', '1') end
if ARGV[4] == '0' then redis.call('HINCRBY', KEYS[2], 'attempts', -1) end
if ARGV[5] == '1' then
  redis.call('HSETNX', KEYS[2], 'held_off_since', string.format('%.6f', now))
elseif ARGV[4] == '1' then
  redis.call('HDEL', KEYS[2], 'held_off_since')
end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
return 1
