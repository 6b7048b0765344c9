-- Announce for some seconds that a worker lives, what it holds, and by which policies it can judge.
-- KEYS: known policies, live workers, held policies. ARGV: seconds, worker, what it holds (JSON), reference, ...
local mistake = wrong(KEYS[1], 'zset', KEYS[2], 'zset', KEYS[3], 'hash')
if mistake then return mistake end
local holds = seconds(now + tonumber(ARGV[1]))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', seconds(now))
for i = 4, #ARGV do redis.call('ZADD', KEYS[1], holds, ARGV[i]) end
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', seconds(now))) do
  redis.call('ZREM', KEYS[2], worker)
  redis.call('HDEL', KEYS[3], worker)
end
redis.call('ZADD', KEYS[2], holds, ARGV[2])
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
return #ARGV - 3
