-- doubt: nobody knows whether the effect happened (dedup.ops.Doubt).
--   KEYS[1]  the record
--   ARGV     1 token  2 reason  3 ttl_ms  4 hold (0/1)  5 retry_ms  6 digest
-- replies    {acted (0/1), record or nil}
local key = KEYS[1]
local token, reason, ttl, hold = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local retry, digest = tonumber(ARGV[5]), ARGV[6]

local raw = redis.pcall('GET', key)
if type(raw) == 'table' then
  -- A list or hash is someone else's value, as a foreign text is; any other error is the caller's.
  if string.sub(raw.err, 1, 9) ~= 'WRONGTYPE' then
    return raw
  end
  raw = raw.err
end
local rec = {t = token, n = 1}
if raw then
  local ours
  ours, rec = pcall(cjson.decode, raw)
  if not ours or type(rec) ~= 'table' or rec.t ~= token or (rec.s ~= 'claimed' and rec.s ~= 'unknown') then
    return {0, raw}
  end
elseif digest ~= '' then
  rec.d = digest
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
rec.s, rec.w, rec.a, rec.u, rec.l, rec.g = 'unknown', reason, now, now + retry, nil, nil
if hold then rec.h = 1 end
local text = cjson.encode(rec)
redis.call('SET', key, text, 'PX', math.max(ttl, retry))
return {1, text}
