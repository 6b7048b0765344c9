-- Measure how far a consumer of the outbox is behind.
-- KEYS: its deliveries, by the time at which they are due. ARGV: prefix of records, most to examine at either end.
-- Returns {deliveries that wait, seconds since the oldest of those examined was put here}. What was never tried is due
-- first and in order; what was tried most often, and so waits longest, comes last.
local mistake = wrong(KEYS[1], 'zset')
if mistake then return mistake end
local oldest = now
for _, order in ipairs({'ZRANGE', 'ZREVRANGE'}) do
  for _, key in ipairs(redis.call(order, KEYS[1], 0, ARGV[2] - 1)) do
    local record = ARGV[1] .. key
    local since = is(record, 'hash') and tonumber(redis.call('HGET', record, 'since') or now)
    oldest = math.min(oldest, since or now)
  end
end
return {redis.call('ZCARD', KEYS[1]), seconds(now - oldest)}
