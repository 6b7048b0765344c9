-- Write events into the ledger and their message onto the queue, in one step.
-- KEYS: pending, queue. ARGV: record prefix, verdict prefix, message, look-again-after (s), then key, event, ...
-- Returns for each event: "accepted", "pending" (known, no verdict yet) or "answered". The message is pushed only
-- if it brings something new.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local answers, new = {}, 0
for i = 5, #ARGV, 2 do
  local record = ARGV[1] .. ARGV[i]
  if redis.call('EXISTS', ARGV[2] .. ARGV[i]) == 1 then
    answers[#answers + 1] = 'answered'
  elseif redis.call('EXISTS', record) == 1 then
    answers[#answers + 1] = 'pending'
  else
    redis.call('HSET', record, 'event', ARGV[i + 1], 'queue', KEYS[2], 'state', 'queued', 'attempts', 0,
      'accepted_at', string.format('%.6f', now), 'queued_at', string.format('%.6f', now))
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), ARGV[i])
    answers[#answers + 1] = 'accepted'
    new = new + 1
  end
end
if new > 0 then redis.call('LPUSH', KEYS[2], ARGV[3]) end
return answers
