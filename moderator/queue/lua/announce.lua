-- Announce for some seconds that a worker can judge by these policies.
-- KEYS: known policies. ARGV: seconds, reference, ...
local mistake = wrong(KEYS[1], 'zset')
if mistake then return mistake end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', seconds(now))
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], seconds(now + tonumber(ARGV[1])), ARGV[i]) end
return #ARGV - 1
