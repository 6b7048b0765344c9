-- Return what is kept of an image, and note that it was used now. KEYS: embeddings (sorted set by last use), entry. ARGV: name.
local mistake = wrong(KEYS[1], 'zset')
if mistake then return mistake end
if not is(KEYS[2], 'hash') then return {false, false} end
redis.call('ZADD', KEYS[1], 'XX', now, ARGV[1])
return redis.call('HMGET', KEYS[2], 'facts', 'vectors')
