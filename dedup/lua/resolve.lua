-- resolve: a person settles what is held, as it was seen (dedup.resolving.Resolve).
--   KEYS[1]  the record
--   ARGV     1 token  2 seen_token  3 seen_attempt  4 seen_at_ms  5 outcome (empty: to be sent once more)  6 by  7 why
--            8 ttl_ms
-- replies    {acted (0/1), record or nil}
local key = KEYS[1]
local token, seen_token, seen_attempt, seen_at = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local outcome, by, why, ttl = ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])

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
if not ours or type(rec) ~= 'table' then
  return {0, raw}
end
local lets_go = outcome == '' and rec.s == 'unknown' and rec.g == 1
local ends = outcome ~= '' and rec.s == 'done' and rec.o == outcome
if rec.t == token and (lets_go or ends) then
  return {1, raw}
end
local held = rec.s == 'unknown' and rec.h == 1
local as_seen = (rec.t or '') == seen_token and (rec.n or 1) == seen_attempt and (rec.a or 0) == seen_at
if not (held and as_seen) then
  return {0, raw}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
rec.t, rec.a, rec.u, rec.l, rec.h = token, now, nil, nil, nil
if by ~= '' then rec.b = by else rec.b = nil end
if why ~= '' then rec.y = why else rec.y = nil end
if outcome ~= '' then
  rec.s, rec.o, rec.g = 'done', outcome, nil
else
  rec.g = 1
end
local text = cjson.encode(rec)
redis.call('SET', key, text, 'PX', ttl)
return {1, text}
