-- Extend the leases of events that a worker has: claimed ones, with its token, and ones that wait for their turn there,
-- which the ledger still counts as queued, without one.
-- KEYS: pending. ARGV: record prefix, lease (s), then key, token ("" = waits its turn), ...
-- Returns the number of leases extended.
local mistake = wrong(KEYS[1], 'zset')
if mistake then return mistake end
local count = 0
for i = 3, #ARGV, 2 do
  local record = ARGV[1] .. ARGV[i]
  if is(record, 'hash') then
    local fields = redis.call('HMGET', record, 'state', 'token')
    local held = fields[1] == 'started' and ARGV[i + 1] ~= '' and fields[2] == ARGV[i + 1]
    if held or (fields[1] == 'queued' and ARGV[i + 1] == '') then
      redis.call('ZADD', KEYS[1], 'XX', now + tonumber(ARGV[2]), ARGV[i])
      count = count + 1
    end
  end
end
return count
