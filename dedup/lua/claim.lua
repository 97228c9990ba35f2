-- claim: take the exclusive right to work on a key (dedup.ops.Claim).
--   KEYS[1]  the record
--   ARGV     1 token  2 lease_ms  3 ttl_ms  4 digest  5 effect (0/1)  6 resume (0/1)  7 max_failures  8 held_ttl_ms
-- replies    {answer, left_ms, record}
--   answer   acquired | duplicate | busy | unknown | conflict
local key = KEYS[1]
local token, lease, ttl, digest = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local effect, resume = ARGV[5] == '1', ARGV[6] == '1'
local max_failures, held_ttl = tonumber(ARGV[7]), tonumber(ARGV[8])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local raw = redis.pcall('GET', key)
if type(raw) == 'table' then
  -- A list or hash is someone else's value, as a foreign text is; any other error is the caller's.
  if string.sub(raw.err, 1, 9) ~= 'WRONGTYPE' then
    return raw
  end
  raw = raw.err
end

local function write(rec, keep_ms)
  rec.a = now
  local text = cjson.encode(rec)
  redis.call('SET', key, text, 'PX', keep_ms)
  return text
end

-- What a newer version of this library wrote, and this one does not know, goes on.
local OURS = '^[stnfulaphgbywdov]$'
local function carry(onto, from)
  for field, value in pairs(from) do
    if not string.find(field, OURS) then
      onto[field] = value
    end
  end
end

local found = {}

local function acquire(attempt, failures, doubt, before)
  local rec = {s = 'claimed', t = token, n = attempt, u = now + lease}
  carry(rec, found)
  if before then rec.g, rec.b, rec.y = before.g, before.b, before.y end
  if failures > 0 then rec.f = failures end
  if doubt then rec.p, rec.w = 1, doubt end
  if digest ~= '' then rec.d = digest end
  return {'acquired', lease, write(rec, math.max(ttl, lease))}
end

if not raw then
  return acquire(1, 0)
end

local ours, rec = pcall(cjson.decode, raw)
ours = ours and type(rec) == 'table' and
  (rec.s == 'claimed' or rec.s == 'released' or rec.s == 'unknown' or rec.s == 'done')
if not ours then
  return {'duplicate', 0, raw}
end

found = rec
local attempt, failures = rec.n or 1, rec.f or 0

local function fail(why)
  local done = {s = 'done', o = 'failed', t = rec.t, n = attempt, f = failures, w = why, d = rec.d}
  carry(done, found)
  return {'duplicate', 0, write(done, ttl)}
end

if rec.s == 'released' then
  if not effect and failures >= max_failures then
    return fail(rec.w)
  end
  return acquire(attempt + 1, failures)
end
if digest ~= '' and rec.d and rec.d ~= digest then
  return {'conflict', 0, raw}
end
if rec.s == 'done' then
  return {'duplicate', 0, raw}
end
if rec.s == 'claimed' then
  if rec.t == token then
    return acquire(attempt, failures, rec.p == 1 and (rec.w or ''), rec)
  end
  local left = rec.l and redis.call('PTTL', key) - rec.l or (rec.u or 0) - now
  if left > 0 then
    return {'busy', left, raw}
  end
  failures = failures + 1
  local why = 'the lease ran out under attempt ' .. attempt
  if not effect then
    if failures >= max_failures then
      return fail(why)
    end
    return acquire(attempt + 1, failures)
  end
  -- What a person let go has had its delivery.
  rec.s, rec.f, rec.u, rec.l, rec.g, rec.w = 'unknown', failures, nil, nil, nil, rec.w or why
end
if rec.h == 1 then
  return {'unknown', 0, raw}
end
if rec.g == 1 or (resume and failures < max_failures) then
  return acquire(attempt + 1, failures, rec.w or '', rec)
end
rec.h = 1
return {'unknown', 0, write(rec, held_ttl)}
