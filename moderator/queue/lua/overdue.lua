-- Find events that are due and no longer on the queue: lost between the queue and a worker, held by a worker that
-- died, or waiting for their retry. Events still on the queue are examined again later: the queue is first in, first
-- out, so an event queued no earlier than its oldest message may still be there. (The time of acceptance does not show
-- this: a retried event is behind younger ones.)
-- KEYS: pending, pending bytes. ARGV: record prefix, verdict prefix, lease (s), most to examine, most
-- deliveries, then queue, queued-at of its oldest message ("" = empty queue), ...
-- Returns {key, due, queue, what, ...}; what: "lost" (put it on the queue), "undeliverable" (queued as often as allowed,
-- and never claimed) or "unreadable" (the record is not ours). The events themselves are left out: with images inside,
-- many are too large for one answer. An event that has its verdict is closed.
local mistake = wrong(KEYS[1], 'zset')
if mistake then return mistake end
local oldest, known = {}, {}
for i = 6, #ARGV, 2 do oldest[ARGV[i]], known[ARGV[i]] = tonumber(ARGV[i + 1]), true end
local found = {}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[4])
for i = 1, #due, 2 do
  local record = ARGV[1] .. due[i]
  local fields = {}
  if is(record, 'hash') then fields = redis.call('HMGET', record, 'state', 'queue', 'queued_at', 'deliveries') end
  local queue, what = fields[2] or '', 'lost'
  if is(record, 'none') then
    redis.call('ZREM', KEYS[1], due[i])
    what = nil
  elseif is(ARGV[2] .. due[i], 'string') then
    close(KEYS[1], record, KEYS[2], due[i])
    what = nil
  elseif not known[queue] then
    what = 'unreadable'
  elseif fields[1] == 'queued' and oldest[queue] and (tonumber(fields[3]) or 0) >= oldest[queue] then
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), due[i])
    what = nil
  elseif whole(fields[4]) >= tonumber(ARGV[5]) then
    what = 'undeliverable'
  end
  if what then
    for _, part in ipairs({due[i], due[i + 1], queue, what}) do found[#found + 1] = part end
  end
end
return found
