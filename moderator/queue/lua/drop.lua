-- Forget a dead letter, whatever stands in its place. KEYS: dead letters, dead letter. ARGV: key, death as seen.
-- Returns 1, or 0 where that letter no longer exists: then nothing changed.
local mistake = wrong(KEYS[1], 'zset')
if mistake then return mistake end
if is(KEYS[2], 'none') then return 0 end
if is(KEYS[2], 'hash') and (redis.call('HGET', KEYS[2], 'died_at') or '') ~= ARGV[2] then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return 1
