-- Check an API key, and count a request against its rate, in one step.
-- KEYS: the key's record, its rate limit. ARGV: digest of the key that was given ("" = a request without a key), scope,
--       the scope that includes all, requests a second where the record has no rate (0 = no bound), seconds of it that
--       may be used at once.
-- Returns {answer, name, seconds to wait}; the answer is "ok", "unknown", "revoked", "forbidden" or "late".

-- Return whether two digests are equal, in the same time wherever they differ.
local function same(a, b)
  if #a ~= #b then return false end
  local difference = 0
  for i = 1, #a do difference = bit.bor(difference, bit.bxor(string.byte(a, i), string.byte(b, i))) end
  return difference == 0
end

local name, rate = '', tonumber(ARGV[4])
if ARGV[1] ~= '' then
  if not is(KEYS[1], 'hash') then return {'unknown', '', '0'} end
  local found = redis.call('HMGET', KEYS[1], 'digest', 'name', 'scopes', 'rate', 'used_at', 'revoked_at')
  if not same(found[1] or '', ARGV[1]) then return {'unknown', '', '0'} end
  name = found[2] or ''
  if found[6] then return {'revoked', name, '0'} end
  local scopes = ',' .. (found[3] or '') .. ','
  if not string.find(scopes, ',' .. ARGV[2] .. ',', 1, true) and not string.find(scopes, ',' .. ARGV[3] .. ',', 1, true) then
    return {'forbidden', name, '0'}
  end
  rate = tonumber(found[4]) or rate
  if now - (tonumber(found[5]) or 0) > 60 then redis.call('HSET', KEYS[1], 'used_at', seconds(now)) end
end
if rate <= 0 then return {'ok', name, '0'} end

-- The generic cell rate algorithm: one number is kept, the time at which all that was used is earned again.
local earned = now
if is(KEYS[2], 'string') then earned = math.max(now, tonumber(redis.call('GET', KEYS[2])) or 0) end
local wait = earned + 1 / rate - now - math.max(tonumber(ARGV[5]), 1 / rate)
if wait > 0 then return {'late', name, seconds(wait)} end
redis.call('SET', KEYS[2], seconds(earned + 1 / rate), 'PX', math.ceil((earned - now + 1 / rate) * 1000) + 1000)
return {'ok', name, '0'}
