-- Put an overdue event on the queue again, unless another process was first. Its former holder no longer holds it.
-- KEYS: pending, record, queue. ARGV: key, due as seen, message, lease (s).
local mistake = wrong(KEYS[1], 'zset', KEYS[3], 'list')
if mistake then return mistake end
if not is(KEYS[2], 'hash') then return 0 end
local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not due or due ~= ARGV[2] then return 0 end
redis.call('LPUSH', KEYS[3], ARGV[3])
local deliveries = whole(redis.call('HGET', KEYS[2], 'deliveries')) + 1
redis.call('HSET', KEYS[2], 'state', 'queued', 'queued_at', seconds(now), 'deliveries', deliveries)
redis.call('HDEL', KEYS[2], 'token')
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), ARGV[1])
return 1
