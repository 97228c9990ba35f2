-- peek: read a record and change nothing (dedup.ops.Peek).
--   KEYS[1]  the record
--   ARGV     none
-- replies    {record or nil, now_ms, pttl_ms}
local key = KEYS[1]
local raw = redis.pcall('GET', key)
if type(raw) == 'table' then
  -- A list or hash is someone else's value, as a foreign text is; any other error is the caller's.
  if string.sub(raw.err, 1, 9) ~= 'WRONGTYPE' then
    return raw
  end
  raw = raw.err
end

local time = redis.call('TIME')
return {raw, time[1] * 1000 + math.floor(time[2] / 1000), redis.call('PTTL', key)}
