-- Revoke an API key. KEYS: its record. ARGV: time. Returns 1, or 0 if there is no such key; a second time changes nothing.
if not is(KEYS[1], 'hash') then return 0 end
redis.call('HSETNX', KEYS[1], 'revoked_at', ARGV[1])
return 1
