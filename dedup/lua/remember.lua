-- remember: replace the mark of when this store's memory began, where it still is what was seen (dedup.marking.Remember).
--   KEYS[1]  the mark
--   ARGV     1 seen (empty for no mark)  2 text
-- replies    {acted (0/1), mark}
local key = KEYS[1]
local found = redis.call('GET', key) or ''
if found == ARGV[2] then
  return {1, found}
end
if found ~= ARGV[1] then
  return {0, found}
end
redis.call('SET', key, ARGV[2])
return {1, ARGV[2]}
