-- begin: read when this store's memory began, and who answers; it begins now where there is no mark (dedup.marking.Begin).
--   KEYS[1]  the mark
--   ARGV     none
-- replies    {mark, just_now (0/1), now_ms, run, replid, promoted (0/1), replicas, evicted, up_s}
--   run      empty where this user may not ask for INFO
local key = KEYS[1]
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))

local info = redis.pcall('INFO', 'server', 'stats', 'replication')
local function said(field)
  return type(info) == 'string' and string.match(info, '\n' .. field .. ':(%w+)') or ''
end
local run, replid, evicted = said('run_id'), said('master_replid'), said('evicted_keys')
local promoted = string.find(said('master_replid2'), '[^0]') and 1 or 0
local server = {run, replid, promoted, said('connected_slaves'), evicted, said('uptime_in_seconds')}

local mark = redis.call('GET', key)
local just_now = 0
if not (mark and (string.find(mark, '^%d+$') or string.find(mark, '^{"since":%d+,'))) then
  mark = now
  if run ~= '' and evicted ~= '' then
    mark = '{"since":' .. now .. ',"run":"' .. run .. '","replid":"' .. replid .. '","evicted":' .. evicted .. '}'
  end
  redis.call('SET', key, mark)
  just_now = 1
end
return {mark, just_now, now, unpack(server)}
