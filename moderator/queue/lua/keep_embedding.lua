-- Keep an image's embeddings and, where there are too many, drop the least recently used.
-- KEYS: embeddings (sorted set by last use), entry. ARGV: key prefix, name, facts, vectors, most entries.
local mistake = wrong(KEYS[1], 'zset')
if mistake then return mistake end
if not is(KEYS[2], 'hash') then redis.call('DEL', KEYS[2]) end
redis.call('HSET', KEYS[2], 'facts', ARGV[3], 'vectors', ARGV[4])
redis.call('ZADD', KEYS[1], now, ARGV[2])
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[5])
if over > 0 then
  local old = redis.call('ZPOPMIN', KEYS[1], over)
  for i = 1, #old, 2 do redis.call('DEL', ARGV[1] .. old[i]) end
end
