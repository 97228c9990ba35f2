"""The same names as `dedup`, awaitable."""
