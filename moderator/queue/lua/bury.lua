-- Keep a dead letter; one of the same key is replaced. KEYS: dead letters, dead letter. ARGV: key, field, value, ...
local mistake = wrong(KEYS[1], 'zset')
if mistake then return mistake end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'died_at', seconds(now), unpack(ARGV, 2))
redis.call('ZADD', KEYS[1], now, ARGV[1])
return 1
