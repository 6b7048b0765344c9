-- Keep and publish a later verdict in place of an event's verdict, and put it into the outbox, in one step.
-- KEYS: verdict, stream, reply, webhooks, webhook; where the outbox has further consumers: as for `publish.lua`.
-- ARGV: digest of the verdict as seen, later verdict, time to live (s), stream length, delivery key, second channel to
--       announce it on; for further consumers: as for `publish.lua`.
-- Returns 1, or 0 where the event has another verdict or none: then nothing changed.
local mistake = wrong(KEYS[2], 'stream', KEYS[4], 'zset') or wrong_outbox(6)
if mistake then return mistake end
if not is(KEYS[1], 'string') or redis.sha1hex(redis.call('GET', KEYS[1])) ~= ARGV[1] then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'verdict', ARGV[2])
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
if is(KEYS[3], 'string') then
  deliver_webhook(KEYS[4], KEYS[5], redis.call('GET', KEYS[3]), ARGV[2], ARGV[5])
  redis.call('EXPIRE', KEYS[3], ARGV[3])
end
deliver_further(6, 7, ARGV[2], ARGV[5])
redis.call('PUBLISH', KEYS[1], '1')
if ARGV[6] ~= KEYS[1] then redis.call('PUBLISH', ARGV[6], '1') end
return 1
