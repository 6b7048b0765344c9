-- Add what categories decided to their counts, and return the counts and the state of their breakers.
-- KEYS: list of the categories, the record of each. ARGV: seconds and images that a part of the window takes at least,
--       most parts, half-life of the history in seconds, seconds for which a record without images is kept; for each
--       category its name, images and blocks to add.
-- Returns the time, then for each category: images and blocks of the history, of the window, when the history began, the
-- highest rate of the window in it, when the breaker opened, since when it is calm, why, and the number of its changes.
--
-- The parts of the window are `images,blocks,began,rate;...`, the oldest first; the rate is that of the window before the
-- part. What leaves the window becomes history, unless the breaker is open: a flood must not become usual. So the highest
-- rate is one window old at least, and a rise is not compared with itself. The history loses half of its weight with each
-- half-life.
local part_seconds, part_images, most_parts = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local half_life, ttl = tonumber(ARGV[4]), tonumber(ARGV[5])

local mistake = wrong(KEYS[1], 'zset')
for i = 2, #KEYS do mistake = mistake or wrong(KEYS[i], 'hash') end
if mistake then return mistake end

local function parts_of(text)
  local parts = {}
  for images, blocks, began, rate in string.gmatch(text or '', '(%d+),(%d+),([%d.]+),([%d.]+)') do
    parts[#parts + 1] = {tonumber(images), tonumber(blocks), tonumber(began), tonumber(rate)}
  end
  return parts
end

local function text_of(parts)
  local texts = {}
  for i, part in ipairs(parts) do texts[i] = string.format('%d,%d,%.6f,%.6f', unpack(part)) end
  return table.concat(texts, ';')
end

local function number(value) return string.format('%.3f', value) end

local answers = {seconds(now)}
for i = 2, #KEYS do
  local name, images, blocks = ARGV[3 * i], whole(ARGV[3 * i + 1]), whole(ARGV[3 * i + 2])
  local found = redis.call('HMGET', KEYS[i], 'images', 'blocks', 'as_of', 'window', 'began', 'peak', 'opened_at',
    'calm_since', 'reason', 'turns')
  local before, blocked, as_of = tonumber(found[1]) or 0, tonumber(found[2]) or 0, tonumber(found[3]) or now
  local began, peak, is_open = tonumber(found[5]) or now, tonumber(found[6]) or 0, found[7]
  local parts = parts_of(found[4])
  local lately, lately_blocked = 0, 0
  for _, part in ipairs(parts) do lately, lately_blocked = lately + part[1], lately_blocked + part[2] end
  if images > 0 then
    local last = parts[#parts]
    if not last or (now - last[3] >= part_seconds and last[1] >= part_images) then
      local rate = 0
      if #parts == most_parts then
        rate = lately_blocked / lately
        local old = table.remove(parts, 1)
        if not is_open then
          local kept = 0.5 ^ (math.max(0, now - as_of) / half_life)
          before, blocked, as_of = before * kept + old[1], blocked * kept + old[2], now
          peak = math.max(peak * kept, old[4])
        end
        lately, lately_blocked = lately - old[1], lately_blocked - old[2]
      end
      last = {0, 0, now, rate}
      parts[#parts + 1] = last
      redis.call('HSET', KEYS[i], 'images', number(before), 'blocks', number(blocked), 'as_of', seconds(as_of),
        'began', seconds(began), 'peak', seconds(peak))
    end
    last[1], last[2] = last[1] + images, last[2] + blocks
    lately, lately_blocked = lately + images, lately_blocked + blocks
    redis.call('HSET', KEYS[i], 'window', text_of(parts))
    -- Not every second, which would take as long as everything else.
    if last[3] == now or now - last[3] > 86400 then
      redis.call('EXPIRE', KEYS[i], ttl)
      redis.call('ZADD', KEYS[1], now + ttl, name)
    end
  end
  for _, value in ipairs({number(before), number(blocked), number(lately), number(lately_blocked), seconds(began),
    seconds(peak), is_open or '', found[8] or '', found[9] or '', found[10] or '0'}) do
    answers[#answers + 1] = value
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', seconds(now))
return answers
