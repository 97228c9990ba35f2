-- release: give the claim back, nothing happened in this attempt (dedup.ops.Release).
--   KEYS[1]  the record
--   ARGV     1 token  2 ttl_ms  3 retry_ms  4 reason  5 failed (0/1)
-- replies    {acted (0/1), record or nil}
local key = KEYS[1]
local token, ttl, retry, reason, failed = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5] == '1'

local raw = redis.pcall('GET', key)
if type(raw) == 'table' then
  -- A list or hash is someone else's value, as a foreign text is; any other error is the caller's.
  if string.sub(raw.err, 1, 9) ~= 'WRONGTYPE' then
    return raw
  end
  raw = raw.err
end
if not raw then
  return {0, raw}
end
local ours, rec = pcall(cjson.decode, raw)
if not ours or type(rec) ~= 'table' or rec.t ~= token then
  return {0, raw}
end
if rec.s == 'released' then
  return {1, raw}
end
if rec.s ~= 'claimed' and rec.s ~= 'unknown' then
  return {0, raw}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if rec.s == 'unknown' and rec.p == 1 then
  -- This attempt's own release came before, or its lease ran out; the earlier doubt stands either way.
  return {1, raw}
end
rec.a, rec.u, rec.l = now, now + retry, nil
if rec.p == 1 then
  rec.s = 'unknown'
else
  rec.s, rec.h, rec.w = 'released', nil, nil
  if reason ~= '' then rec.w = reason end
end
if failed then
  rec.f = (rec.f or 0) + 1
end
local text = cjson.encode(rec)
redis.call('SET', key, text, 'PX', math.max(ttl, retry))
return {1, text}
