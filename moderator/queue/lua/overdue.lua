-- Find events that are due and no longer on the queue: lost between the queue and a worker, held by a worker that
-- died, or waiting for their retry. Events still on the queue are looked at again later: the queue is first in,
-- first out, so an event put there no earlier than the oldest message may still be there. (When it was accepted
-- says nothing of that: a retried event stands behind younger ones.)
-- KEYS: pending. ARGV: record prefix, look-again-after (s), most to look at, then queue, queued-at of its oldest
-- message ("" = empty queue), ...
-- Returns {key, due, queue, ...}. Not the events themselves: with images inside, many are too much for one answer.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local oldest = {}
for i = 4, #ARGV, 2 do oldest[ARGV[i]] = tonumber(ARGV[i + 1]) end
local found = {}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for i = 1, #due, 2 do
  local record = redis.call('HMGET', ARGV[1] .. due[i], 'state', 'queue', 'queued_at')
  if not record[1] then
    redis.call('ZREM', KEYS[1], due[i])
  elseif record[1] == 'queued' and oldest[record[2]] and tonumber(record[3]) >= oldest[record[2]] then
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), due[i])
  else
    found[#found + 1] = due[i]
    found[#found + 1] = due[i + 1]
    found[#found + 1] = record[2]
  end
end
return found
