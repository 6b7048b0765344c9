-- Keep a dead letter; one of the same key is replaced. A delivery leaves the outbox in the same step: no replay of the
-- dead letter comes before that, and is lost by it.
-- KEYS: dead letters, dead letter; of a delivery also: its list, its record. ARGV: key, member of the list, field,
-- value, ...
local mistake = wrong(KEYS[1], 'zset') or KEYS[3] and wrong(KEYS[3], 'zset')
if mistake then return mistake end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'died_at', seconds(now), unpack(ARGV, 3))
redis.call('ZADD', KEYS[1], now, ARGV[1])
if KEYS[3] then
  redis.call('ZREM', KEYS[3], ARGV[2])
  redis.call('UNLINK', KEYS[4])
end
return 1
