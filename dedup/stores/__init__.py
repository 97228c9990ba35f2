"""Where records live: Redis, or this process's memory. Both answer the operations of `dedup.ops` alike."""
