-- Change the state of a category's breaker, if nobody else has since it was read.
-- KEYS: record of the category, log. ARGV: number of its changes when it was read, the change ("open", "calm", "high",
--       "close" or "accept"), why, entry of the log ("" = none), most entries of the log.
-- Returns 1, or 0 if nothing was done.
--
-- The window starts again whenever the breaker opens or closes: what a flood decided never becomes history, except with
-- "accept", where what was decided since it opened takes the place of the history.
local mistake = wrong(KEYS[1], 'hash', KEYS[2], 'list')
if mistake then return mistake end
local record, change = KEYS[1], ARGV[2]
if redis.call('EXISTS', record) == 0 or whole(redis.call('HGET', record, 'turns')) ~= whole(ARGV[1]) then return 0 end
local is_open = redis.call('HEXISTS', record, 'opened_at') == 1
if is_open == (change == 'open') then return 0 end

if change == 'open' then
  redis.call('HSET', record, 'opened_at', seconds(now), 'reason', ARGV[3], 'window', '')
elseif change == 'calm' then
  redis.call('HSET', record, 'calm_since', seconds(now))
elseif change == 'high' then
  redis.call('HDEL', record, 'calm_since')
else
  if change == 'accept' then
    local images, blocks = 0, 0
    for n, k in string.gmatch(redis.call('HGET', record, 'window') or '', '(%d+),(%d+),[%d.]+,[%d.]+') do
      images, blocks = images + tonumber(n), blocks + tonumber(k)
    end
    redis.call('HSET', record, 'images', images, 'blocks', blocks, 'as_of', seconds(now), 'began', seconds(now),
      'peak', 0)
  end
  redis.call('HDEL', record, 'opened_at', 'calm_since', 'reason')
  redis.call('HSET', record, 'window', '')
end
redis.call('HINCRBY', record, 'turns', 1)
if ARGV[4] ~= '' then
  redis.call('LPUSH', KEYS[2], ARGV[4])
  redis.call('LTRIM', KEYS[2], 0, tonumber(ARGV[5]) - 1)
end
return 1
