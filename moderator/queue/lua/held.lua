-- Return the live workers, each followed by what it holds. KEYS: live workers, held policies.
local answer = {}
if not is(KEYS[1], 'zset') or not is(KEYS[2], 'hash') then return answer end
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. seconds(now), '+inf')) do
  answer[#answer + 1] = worker
  answer[#answer + 1] = redis.call('HGET', KEYS[2], worker) or ''
end
return answer
