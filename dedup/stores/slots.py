"""Hash slots of a Redis Cluster, and a mark in each of them.

Each of the 16,384 slots may move, fail over, or lose its keys by itself. So on a Cluster the mark of when the store's
memory began stands in every slot: what holds for a record holds for the mark beside it, wherever the slot is served.
"""

from __future__ import annotations

from binascii import crc_hqx
from functools import cache
from itertools import count

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

SLOTS = REDIS_CLUSTER_HASH_SLOTS


def slot_of(key: str) -> int:
    """The slot that a key belongs to."""
    return int(key_slot(key.encode()))


def mark_in(slot: int, since_key: str) -> str:
    """The key of a slot's mark: ``dedup:since:{…}``, with a tag that belongs to the slot."""
    return f"{since_key}:{{{_tags()[slot]}}}"


@cache
def _tags() -> tuple[str, ...]:
    """For each slot the smallest number, in hexadecimal, that belongs to it."""
    found: dict[int, str] = {}
    for number in count():
        # The slot of a key without braces, as `slot_of` has it at a tenth of the time.
        found.setdefault(crc_hqx(b"%x" % number, 0) % SLOTS, f"{number:x}")
        if len(found) == SLOTS:
            return tuple(found[slot] for slot in range(SLOTS))
    raise AssertionError
