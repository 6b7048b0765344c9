-- Keep and publish a verdict and close the event, in one step; a second verdict for the event changes nothing, nor does
-- one of a worker that does not hold it any more.
-- KEYS: pending, record, verdict, stream, dead letters, dead letter, webhooks, webhook, pending bytes; where the outbox
--       has further consumers: what they missed, then for each its deliveries and its record of this one.
-- ARGV: key, verdict, time to live (s), stream length, error type ("" = no dead letter), error message,
--       webhook URL ("" = none), event, delivery key, token ("" = not asked for), due as seen ("" = not
--       asked for), second channel to announce the verdict on ("" = none); for further consumers: most deliveries of each,
--       embedding ("" = none), its description, readings, then for each whether it wants these ("" = no).
-- Returns {1, seconds since the event was accepted} or {0}. An event that the ledger does not know is published: a
-- server that died may have forgotten what it had accepted a moment before.
local mistake = wrong(KEYS[1], 'zset', KEYS[4], 'stream', KEYS[5], 'zset', KEYS[7], 'zset')
if KEYS[10] then mistake = mistake or wrong(KEYS[10], 'hash') end
for i = 11, #KEYS, 2 do mistake = mistake or wrong(KEYS[i], 'zset') end
if mistake then return mistake end
if is(KEYS[3], 'string') then
  close(KEYS[1], KEYS[2], KEYS[9], ARGV[1])
  return {0}
end
local fields, known = {}, is(KEYS[2], 'hash')
if known then fields = redis.call('HMGET', KEYS[2], 'accepted_at', 'attempts', 'token') end
if ARGV[11] ~= '' then
  if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[11] then return {0} end
elseif known and ARGV[10] ~= '' and (fields[3] or '') ~= ARGV[10] then
  return {0}
end
-- The stream first: adding fails if it has no further id.
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[4], '*', 'verdict', ARGV[2])
redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[3])
if ARGV[5] ~= '' then
  redis.call('DEL', KEYS[6])
  redis.call('HSET', KEYS[6], 'event', ARGV[8], 'error', ARGV[5], 'message', ARGV[6],
    'attempts', whole(fields[2]), 'died_at', seconds(now), 'verdict', redis.sha1hex(ARGV[2]))
  redis.call('ZADD', KEYS[5], now, ARGV[1])
end
if ARGV[7] ~= '' then
  redis.call('DEL', KEYS[8])
  redis.call('HSET', KEYS[8], 'url', ARGV[7], 'body', ARGV[2], 'attempts', 0, 'since', seconds(now))
  redis.call('ZADD', KEYS[7], now, ARGV[9])
end
for i = 11, #KEYS, 2 do
  if redis.call('ZCARD', KEYS[i]) >= tonumber(ARGV[13]) then
    redis.call('HSET', KEYS[10], KEYS[i], string.format('%d', whole(redis.call('HGET', KEYS[10], KEYS[i])) + 1))
  else
    redis.call('DEL', KEYS[i + 1])
    redis.call('HSET', KEYS[i + 1], 'body', ARGV[2], 'attempts', 0, 'since', seconds(now))
    if ARGV[14] ~= '' and ARGV[17 + (i - 11) / 2] ~= '' then
      redis.call('HSET', KEYS[i + 1], 'embedding', ARGV[14], 'tensor', ARGV[15], 'readings', ARGV[16])
    end
    redis.call('ZADD', KEYS[i], now, ARGV[9])
  end
end
close(KEYS[1], KEYS[2], KEYS[9], ARGV[1])
redis.call('PUBLISH', KEYS[3], '1')
if ARGV[12] ~= '' then redis.call('PUBLISH', ARGV[12], '1') end
return {1, seconds(math.max(0, now - (tonumber(fields[1] or now) or now)))}
