-- Put a verdict into the outbox of its event's webhook again; what waits there under the same key is due now.
-- KEYS: reply, webhooks, webhook. ARGV: verdict, delivery key.
-- Returns 1, or 0 where no webhook is known for the event.
local mistake = wrong(KEYS[2], 'zset')
if mistake then return mistake end
if not is(KEYS[1], 'string') then return 0 end
deliver_webhook(KEYS[2], KEYS[3], redis.call('GET', KEYS[1]), ARGV[1], ARGV[2])
return 1
