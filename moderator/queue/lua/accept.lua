-- Write events into the ledger and their message onto the queue, in one step, if the queue has room for them.
-- KEYS: pending, queue, pending bytes, refusals, verdict stream.
-- ARGV: record prefix, verdict prefix, message, lease (s), most events, most bytes (0 = no bound),
--       verdicts that give the drain rate, then key, event, ...
-- Returns for each event: "accepted", "pending" (known, no verdict yet) or "answered". The message is pushed only
-- if it has something new. Without room nothing is changed: {"full", events above the bound, verdicts a second}.
-- A queue without events takes any message, else one that is larger than the bound would never get in.
local mistake = wrong(KEYS[1], 'zset', KEYS[2], 'list', KEYS[4], 'hash', KEYS[5], 'stream')
if mistake then return mistake end
local answers, new = {}, {}
for i = 8, #ARGV, 2 do
  local answer, before = 'accepted', key_before_bulk(ARGV[i])
  if is(ARGV[2] .. ARGV[i], 'string') then
    answer = 'answered'
  elseif is(ARGV[1] .. ARGV[i], 'hash') then
    answer = 'pending'
  elseif before and answered_before_bulk(ARGV[2] .. before) then
    answer = 'answered'
  elseif before and kept_before_bulk(ARGV[1] .. before, ARGV[i + 1]) then
    answer = 'pending'
  end
  answers[#answers + 1] = answer
  if answer == 'accepted' then new[#new + 1] = i end
end
if #new == 0 then return answers end

-- Each event is held twice: in its record, and as its share of the message.
local share = math.ceil(#ARGV[3] / #new)
local size = share * #new
for _, i in ipairs(new) do size = size + #ARGV[i + 1] end
local pending = redis.call('ZCARD', KEYS[1])
local held = bytes_held(KEYS[3])
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
  return {'full', over, seconds(rate)}
end

redis.call('LPUSH', KEYS[2], ARGV[3])
for _, i in ipairs(new) do
  redis.call('DEL', ARGV[1] .. ARGV[i])
  redis.call('HSET', ARGV[1] .. ARGV[i], 'version', VERSION, 'event', ARGV[i + 1], 'queue', KEYS[2],
    'state', 'queued', 'attempts', 0, 'accepted_at', seconds(now), 'queued_at', seconds(now),
    'size', share + #ARGV[i + 1])
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), ARGV[i])
end
add_bytes(KEYS[3], size)
return answers
