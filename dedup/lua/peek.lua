-- peek: read a record and change nothing (dedup.ops.Peek).
--   KEYS[1]  the record
--   ARGV     none
-- replies    {record or '', now_ms}
local time = redis.call('TIME')
return {redis.call('GET', KEYS[1]) or '', time[1] * 1000 + math.floor(time[2] / 1000)}
