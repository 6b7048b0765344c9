-- Find events that are due and no longer on the queue: lost between the queue and a worker, held by a worker that
-- died, or waiting for their retry. Events still on the queue are looked at again later: the queue is first in,
-- first out, so an event accepted no earlier than the oldest queued one may still be there.
-- KEYS: pending. ARGV: record prefix, look-again-after (s), most to look at, then queue, accepted-at of its oldest
-- message ("" = empty queue), ...
-- Returns {key, due, event, queue, ...}.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local oldest = {}
for i = 4, #ARGV, 2 do oldest[ARGV[i]] = tonumber(ARGV[i + 1]) end
local found = {}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for i = 1, #due, 2 do
  local record = redis.call('HMGET', ARGV[1] .. due[i], 'state', 'event', 'queue', 'accepted_at')
  if not record[2] then
    redis.call('ZREM', KEYS[1], due[i])
  elseif record[1] == 'queued' and oldest[record[3]] and tonumber(record[4]) >= oldest[record[3]] then
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), due[i])
  else
    found[#found + 1] = due[i]
    found[#found + 1] = due[i + 1]
    found[#found + 1] = record[2]
    found[#found + 1] = record[3]
  end
end
return found
