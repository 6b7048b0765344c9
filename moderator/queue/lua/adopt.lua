-- Put an unacknowledged message back on its queue, unless another process was first.
-- KEYS: unacknowledged messages, their index, queue. ARGV: delivery tag, list element.
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('RPUSH', KEYS[3], ARGV[2])
return 1
