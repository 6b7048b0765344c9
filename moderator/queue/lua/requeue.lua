-- Put an overdue event on the queue again, unless somebody else was quicker.
-- KEYS: pending, record, queue. ARGV: key, due as seen, message, look-again-after (s).
local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not due or due ~= ARGV[2] then return 0 end
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
redis.call('HSET', KEYS[2], 'state', 'queued', 'queued_at', string.format('%.6f', now))
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), ARGV[1])
redis.call('LPUSH', KEYS[3], ARGV[3])
return 1
