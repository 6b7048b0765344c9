-- Put the verdict of a webhook's dead letter into the outbox again and forget the letter, in one step.
-- KEYS: dead letters, dead letter, webhooks, webhook. ARGV: key, death of the letter as seen, delivery key, URL, body.
-- Returns 1, or 0 where that letter is not there any more: then nothing changed.
local mistake = wrong(KEYS[1], 'zset', KEYS[3], 'zset')
if mistake then return mistake end
if not is(KEYS[2], 'hash') then return 0 end
if (redis.call('HGET', KEYS[2], 'died_at') or '') ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[4])
redis.call('HSET', KEYS[4], 'url', ARGV[4], 'body', ARGV[5], 'attempts', 0, 'since', seconds(now))
redis.call('ZADD', KEYS[3], now, ARGV[3])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return 1
