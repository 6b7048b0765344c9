-- Take deliveries that are due, and push their due times forward by the lease.
-- KEYS: deliveries of a consumer, by the time at which they are due. ARGV: prefix of records, lease (s), most to take.
-- Returns for each {key}, where its record cannot be read, or
-- {key, url, body, attempt, seconds since it was put here, embedding, its description, readings}, '' for what it lacks.
local mistake = wrong(KEYS[1], 'zset')
if mistake then return mistake end
local taken = {}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[3])) do
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), key)
  local record, fields = ARGV[1] .. key, {}
  if is(record, 'hash') then
    fields = redis.call('HMGET', record, 'body', 'since', 'attempts', 'url', 'embedding', 'tensor', 'readings')
  end
  local since, attempts = tonumber(fields[2] or 0), tonumber(fields[3] or 0)
  if fields[1] and since and attempts then
    redis.call('HSET', record, 'attempts', string.format('%.0f', attempts + 1))
    taken[#taken + 1] = {key, fields[4] or '', fields[1], attempts + 1, seconds(now - since),
      fields[5] or '', fields[6] or '', fields[7] or ''}
  else
    taken[#taken + 1] = {key}
  end
end
return taken
