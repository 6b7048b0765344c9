-- Withdraw the error verdict of a dead event, forget its dead letter, and accept it again, in one step.
-- KEYS: pending, queue, pending bytes, dead letters, dead letter, record, verdict.
-- ARGV: key, death of the letter as seen, message, lease (s), event.
-- Returns "replayed"; or "gone" where that letter no longer exists, and nothing changed; or "pending" or
-- "answered" where the event was submitted again since: the letter is out of date and is forgotten, and no verdict but
-- its own is withdrawn.
local mistake = wrong(KEYS[1], 'zset', KEYS[2], 'list', KEYS[4], 'zset')
if mistake then return mistake end
if not is(KEYS[5], 'hash') then return 'gone' end
if (redis.call('HGET', KEYS[5], 'died_at') or '') ~= ARGV[2] then return 'gone' end
local answer = 'replayed'
if is(KEYS[7], 'string') then
  local verdict, own = redis.call('GET', KEYS[7]), redis.call('HGET', KEYS[5], 'verdict')
  if own then
    if own ~= redis.sha1hex(verdict) then answer = 'answered' end
  else  -- an older version wrote the letter
    local read, fields = pcall(cjson.decode, verdict)
    if read and type(fields) == 'table' and fields['decision'] ~= 'error' then answer = 'answered' end
  end
elseif is(KEYS[6], 'hash') then
  answer = 'pending'
end
if answer == 'replayed' then
  -- Without bounds: it had its place, and a refusal in here would lose its verdict.
  local size = #ARGV[3] + #ARGV[5]
  redis.call('LPUSH', KEYS[2], ARGV[3])
  redis.call('DEL', KEYS[7], KEYS[6])
  redis.call('HSET', KEYS[6], 'version', VERSION, 'event', ARGV[5], 'queue', KEYS[2], 'state', 'queued', 'attempts', 0,
    'accepted_at', seconds(now), 'queued_at', seconds(now), 'size', size)
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), ARGV[1])
  add_bytes(KEYS[3], size)
end
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('DEL', KEYS[5])
return answer
