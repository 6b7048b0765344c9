-- Take the next webhook delivery that is due, and push its due time forward by the lease.
-- KEYS: webhooks, disabled webhooks. ARGV: prefix of records, lease (s), seconds that a webhook stays disabled.
-- Returns nil, {key} where its record cannot be read, or
-- {key, url, body, attempt, seconds since it was put here, seconds since the webhook was disabled or ''}.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)
if not due[1] then return nil end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), due[1])
local record = ARGV[1] .. due[1]
local fields = redis.pcall('HMGET', record, 'url', 'body', 'since', 'attempts')
if fields.err or not fields[1] or not fields[2] then return {due[1]} end
local since, attempts = tonumber(fields[3] or 0), tonumber(fields[4] or 0)
if not since or not attempts then return {due[1]} end
redis.call('HSET', record, 'attempts', string.format('%.0f', attempts + 1))
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[3]))
local disabled = redis.call('ZSCORE', KEYS[2], fields[1])
return {due[1], fields[1], fields[2], attempts + 1, string.format('%.6f', now - since),
  disabled and string.format('%.6f', now - disabled) or ''}
