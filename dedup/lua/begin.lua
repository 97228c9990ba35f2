-- begin: read when this store's memory began; it begins now where there is no mark (dedup.ops.Begin).
--   KEYS[1]  the mark
--   ARGV     none
-- replies    {since_ms, just_now (0/1)}
local since = redis.call('GET', KEYS[1])
if since and string.find(since, '^%d+$') then
  return {since, 0}
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('SET', KEYS[1], now)
return {now, 1}
