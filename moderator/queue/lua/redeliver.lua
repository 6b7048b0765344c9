-- Put the verdict of a delivery's dead letter into the outbox again and forget the letter, in one step.
-- KEYS: dead letters, dead letter, deliveries, delivery. ARGV: key, death of the letter as seen, key of the delivery.
-- Returns 1, or 0 where that letter no longer exists: then nothing changed.
local mistake = wrong(KEYS[1], 'zset', KEYS[3], 'zset')
if mistake then return mistake end
if not is(KEYS[2], 'hash') then return 0 end
local letter = redis.call('HMGET', KEYS[2], 'died_at', 'webhook', 'raw', 'embedding', 'tensor', 'readings')
if (letter[1] or '') ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[4])
redis.call('HSET', KEYS[4], 'attempts', 0, 'since', seconds(now))
for i, name in ipairs({'url', 'body', 'embedding', 'tensor', 'readings'}) do
  if letter[i + 1] then redis.call('HSET', KEYS[4], name, letter[i + 1]) end
end
redis.call('ZADD', KEYS[3], now, ARGV[3])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return 1
