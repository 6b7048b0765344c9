-- Put an overdue event on the queue again, unless another process was first. Its former holder no longer holds it.
-- An event that one holder after the other lost waits for a random time first: if it is what kills them, it parts from
-- the events that were merely in the same worker.
-- KEYS: pending, record, queue. ARGV: key, due as seen, message, lease (s), random number from 0 to 1, longest wait (s).
-- Returns 1, or 0 where nothing was put on the queue.
local mistake = wrong(KEYS[1], 'zset', KEYS[3], 'list')
if mistake then return mistake end
if not is(KEYS[2], 'hash') then return 0 end
local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not due or due ~= ARGV[2] then return 0 end
local fields = redis.call('HMGET', KEYS[2], 'state', 'deliveries', 'attempts', 'losses')
redis.call('HDEL', KEYS[2], 'token')
if fields[1] == 'started' then
  local losses = whole(fields[4]) + 1
  redis.call('HSET', KEYS[2], 'losses', losses, 'attempts', string.format('%d', math.max(0, whole(fields[3]) - 1)))
  if losses > 1 then
    redis.call('HSET', KEYS[2], 'state', 'waiting')
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[5]) * math.min(2 ^ losses, tonumber(ARGV[6])), ARGV[1])
    return 0
  end
end
redis.call('LPUSH', KEYS[3], ARGV[3])
redis.call('HSET', KEYS[2], 'state', 'queued', 'queued_at', seconds(now), 'deliveries', whole(fields[2]) + 1)
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), ARGV[1])
return 1
