-- Delete the readers of a group that have nothing and have not been seen for long. In one step: a reader that is
-- deleted while it has verdicts would take them along.
-- KEYS: stream. ARGV: group, seconds.
-- Returns how many.
local gone = 0
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local reader = {}
  for n = 1, #flat, 2 do reader[flat[n]] = flat[n + 1] end
  if reader['pending'] == 0 and reader['idle'] > ARGV[2] * 1000 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], reader['name'])
    gone = gone + 1
  end
end
return gone
