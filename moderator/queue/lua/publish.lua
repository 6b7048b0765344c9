-- Keep and publish a verdict and close the event, in one step; a second verdict for the event changes nothing.
-- KEYS: pending, record, verdict, stream, dead letters, dead letter, webhooks, webhook, pending bytes.
-- ARGV: key, verdict, time to live (s), stream length, error type ("" = no dead letter), error message,
--       webhook URL ("" = none), event, delivery key.
-- Returns {1, seconds since the event was accepted} or {0}.
if redis.call('EXISTS', KEYS[3]) == 1 then return {0} end
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local accepted = tonumber(redis.call('HGET', KEYS[2], 'accepted_at') or now)
local attempts = redis.call('HGET', KEYS[2], 'attempts') or 0
redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[3])
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[4], '*', 'verdict', ARGV[2])
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[6], 'event', ARGV[8], 'error', ARGV[5], 'message', ARGV[6], 'attempts', attempts,
    'died_at', string.format('%.6f', now))
  redis.call('ZADD', KEYS[5], now, ARGV[1])
end
if ARGV[7] ~= '' then
  redis.call('HSET', KEYS[8], 'url', ARGV[7], 'body', ARGV[2], 'attempts', 0,
    'since', string.format('%.6f', now))
  redis.call('ZADD', KEYS[7], now, ARGV[9])
end
local size = redis.call('HGET', KEYS[2], 'size')
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('ZCARD', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[9])
elseif size then
  redis.call('DECRBY', KEYS[9], size)
end
redis.call('PUBLISH', KEYS[3], '1')
return {1, string.format('%.6f', now - accepted)}
