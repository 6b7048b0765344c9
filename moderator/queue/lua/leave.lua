-- Withdraw the announcement of a worker that ends. KEYS: live workers, held policies. ARGV: worker.
local mistake = wrong(KEYS[1], 'zset', KEYS[2], 'hash')
if mistake then return mistake end
redis.call('HDEL', KEYS[2], ARGV[1])
return redis.call('ZREM', KEYS[1], ARGV[1])
