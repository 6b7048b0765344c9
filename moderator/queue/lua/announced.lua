-- Return whether a live worker announced that it can judge by a policy. KEYS: known policies. ARGV: reference.
if not is(KEYS[1], 'zset') then return 0 end
local known_until = redis.call('ZSCORE', KEYS[1], ARGV[1])
return known_until and tonumber(known_until) > now and 1 or 0
