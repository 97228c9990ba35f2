-- complete: make the record DONE; the first DONE stands (dedup.ops.Complete).
--   KEYS[1]  the record
--   ARGV     1 token  2 outcome  3 ttl_ms  4 value (JSON or empty)  5 reason  6 digest  7 fact (0/1)
-- replies    {acted (0/1), record or nil}
local key = KEYS[1]
local token, outcome, ttl, value, reason, digest = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local fact = ARGV[7] == '1'

local raw = redis.pcall('GET', key)
if type(raw) == 'table' then
  -- A list or hash is someone else's value, as a foreign text is; any other error is the caller's.
  if string.sub(raw.err, 1, 9) ~= 'WRONGTYPE' then
    return raw
  end
  raw = raw.err
end
local rec = {}
if raw then
  local ours
  ours, rec = pcall(cjson.decode, raw)
  if not ours or type(rec) ~= 'table' or
      (rec.s ~= 'claimed' and rec.s ~= 'released' and rec.s ~= 'unknown' and rec.s ~= 'done') then
    return {0, raw}
  end
  if rec.s == 'done' then
    return {rec.t == token and rec.o == outcome and 1 or 0, raw}
  end
end
if not fact and not (raw and rec.t == token and rec.s ~= 'released' and rec.p ~= 1) then
  return {0, raw}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local done = {s = 'done', o = outcome, t = token, n = rec.n or 1, a = now}
-- What a newer version of this library wrote, and this one does not know, goes on.
for field, value in pairs(rec) do
  if not string.find(field, '^[stnfulaphgbywdov]$') then
    done[field] = value
  end
end
if rec.f then done.f = rec.f end
if rec.p then done.p = rec.p end
done.b, done.y = rec.b, rec.y
if reason ~= '' then done.w = reason end
if rec.d then done.d = rec.d elseif digest ~= '' then done.d = digest end
local text = cjson.encode(done)
if value ~= '' then
  -- Spliced in as it came: cjson would turn an empty list into an object.
  text = string.sub(text, 1, -2) .. ',"v":' .. value .. '}'
end
redis.call('SET', key, text, 'PX', ttl)
return {1, text}
