-- Give an event back: the ledger puts it on the queue again after a while.
-- KEYS: pending, record. ARGV: key, delay (s), whether this try harmed a worker, and whether it counts (0 or 1).
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], 'state', 'waiting')
if ARGV[3] == '1' then redis.call('HSET', KEYS[2], 'harmed', '1') end
if ARGV[4] == '0' then redis.call('HINCRBY', KEYS[2], 'attempts', -1) end
redis.call('ZADD', KEYS[1], tonumber(time[1]) + tonumber(time[2]) / 1000000 + tonumber(ARGV[2]), ARGV[1])
return 1
