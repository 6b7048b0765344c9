-- Write events into the ledger and their message onto the queue, in one step, if the queue has room for them.
-- KEYS: pending, queue, pending bytes, refusals, verdict stream.
-- ARGV: record prefix, verdict prefix, message, look-again-after (s), most events, most bytes (0 = no bound),
--       verdicts looked at for the drain rate, then key, event, ...
-- Returns for each event: "accepted", "pending" (known, no verdict yet) or "answered". The message is pushed only
-- if it brings something new. Without room nothing is changed: {"full", events above the bound, verdicts a second}.
-- A queue without events takes any message, else one that is larger than the bound would never get in.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local answers, new = {}, {}
for i = 8, #ARGV, 2 do
  if redis.call('EXISTS', ARGV[2] .. ARGV[i]) == 1 then
    answers[#answers + 1] = 'answered'
  elseif redis.call('EXISTS', ARGV[1] .. ARGV[i]) == 1 then
    answers[#answers + 1] = 'pending'
  else
    answers[#answers + 1] = 'accepted'
    new[#new + 1] = i
  end
end
if #new == 0 then return answers end

-- Each event is held twice: in its record, and as its share of the message.
local share = math.ceil(#ARGV[3] / #new)
local size = share * #new
for _, i in ipairs(new) do size = size + #ARGV[i + 1] end
local pending = redis.call('ZCARD', KEYS[1])
local held = math.max(0, tonumber(redis.call('GET', KEYS[3]) or 0))
local most, room = tonumber(ARGV[5]), tonumber(ARGV[6])
local over = 0
if most > 0 then over = pending + #new - most end
if room > 0 and held + size > room then
  over = math.max(over, 1, math.ceil((held + size - room) * pending / math.max(1, held)))
end
if over > 0 and pending > 0 then
  redis.call('HINCRBY', KEYS[4], KEYS[2], 1)
  local recent = redis.call('XREVRANGE', KEYS[5], '+', '-', 'COUNT', ARGV[7])
  local rate = 0
  if #recent > 1 then
    rate = #recent / math.max(0.001, now - tonumber(string.match(recent[#recent][1], '^%d+')) / 1000)
  end
  return {'full', over, string.format('%.6f', rate)}
end

for _, i in ipairs(new) do
  redis.call('HSET', ARGV[1] .. ARGV[i], 'event', ARGV[i + 1], 'queue', KEYS[2], 'state', 'queued', 'attempts', 0,
    'accepted_at', string.format('%.6f', now), 'queued_at', string.format('%.6f', now), 'size', share + #ARGV[i + 1])
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), ARGV[i])
end
redis.call('INCRBY', KEYS[3], size)
redis.call('LPUSH', KEYS[2], ARGV[3])
return answers
