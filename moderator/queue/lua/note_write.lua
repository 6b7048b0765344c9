-- Note a write of an object unless a later one is known; return whether it is the latest.
-- KEYS: latest write of the object. ARGV: order of this write, seconds to remember it.
local latest = is(KEYS[1], 'string') and redis.call('GET', KEYS[1])
if latest and latest > ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
