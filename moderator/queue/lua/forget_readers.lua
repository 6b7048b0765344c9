-- Delete the readers of a group that hold no verdicts and have not been seen for long. In one step: deleting a reader
-- that holds verdicts would lose them.
-- KEYS: stream. ARGV: group, seconds.
-- Returns the number of readers deleted.
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
