-- adopt: keep a record that was made elsewhere while this store was away, unless this store knows the key
-- (dedup.adopt.Adopt).
--   KEYS[1]  the record
--   ARGV     1 text  2 ttl_ms
-- replies    {acted (0/1), record}
local key = KEYS[1]
local text, ttl = ARGV[1], tonumber(ARGV[2])

local raw = redis.pcall('GET', key)
if type(raw) == 'table' then
  -- A list or hash is someone else's value, as a foreign text is; any other error is the caller's.
  if string.sub(raw.err, 1, 9) ~= 'WRONGTYPE' then
    return raw
  end
  raw = raw.err
end
if raw then
  return {raw == text and 1 or 0, raw}
end
redis.call('SET', key, text, 'PX', ttl)
return {1, text}
