"""Keeps the mark of when a store's memory began true to what its servers still know (`dedup.amnesia`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from redis import exceptions as redis_errors

from dedup.amnesia import Mark, Server, Why, looked_at
from dedup.flows import Flow
from dedup.ops import Began, Begin, Op, Remember, Remembered
from dedup.stores.commands import parsed
from dedup.stores.durability import Durability, Level
from dedup.stores.servers import Servers

log = logging.getLogger("dedup.stores.guard")

ASKED_AGAIN_S = 30.0
"""How long it is believed how a server keeps its data. It can be changed while the server runs."""

BATCH = 1000


class Guard:
    """Looks at each `Began` before anybody relies on it.

    Args:
        servers: where the marks are.
        durability: with `Level.AOF` every claim was on the disk before anything was built on it.
        clock_s: monotonic.
    """

    def __init__(self, servers: Servers, durability: Durability, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._servers, self._durability, self._clock_s = servers, durability, clock_s
        self._keeps: dict[str, tuple[bool | None, float]] = {}
        self._warned = False

    def looking(self, begin: Begin, mark: Begin, began: Began, starting: bool) -> Flow[Began]:
        """The reply as it is to be taken: where the memory began anew, it did so now.

        Args:
            begin: as it was asked for.
            mark: the mark that was read for it.
            began: the reply.
            starting: nothing was claimed yet: a mark that is missing is most likely that of a first start.
        """
        server = began.server
        if server is None or began.mark is None:
            self._warn()
            return began
        keeps = yield from self._kept(mark.key, server.run)
        moved_from = began.mark.run not in ("", server.run)
        neighbours = (yield from self._servers.neighbours(mark.key)) if moved_from else ()
        seen = looked_at(began.mark, server, began.now_ms, keeps, neighbours)
        if began.just_now:
            seen = replace(seen, why=Why.MISSING)
        if seen == began.mark:
            return began
        (kept,) = yield from self._remember([Remember(mark.key, began.text, seen.dumps())])
        anew = began.just_now or seen.since_ms > began.mark.since_ms
        if anew and kept.acted:
            _say(mark.key, seen, logging.WARNING if starting and began.just_now else logging.ERROR)
        if kept.acted and _concerns_all(began.mark, seen, anew, neighbours):
            yield from self._tell_siblings(begin, mark, seen, server, began.now_ms, neighbours)
        # Whoever was first may have seen more.
        stands = Mark.loads(kept.text) or seen
        since_ms = max(seen.since_ms, stands.since_ms)
        just_now = began.just_now or (anew and seen.since_ms >= began.now_ms)
        return replace(began, since_ms=since_ms, just_now=just_now, mark=stands, why=seen.why or stands.why)

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "the server does not say who it is (INFO): restarts, failovers and evictions that lose records go "
                "unnoticed; give this user the permission +info"
            )

    def _tell_siblings(
        self, begin: Begin, mark: Begin, seen: Mark, server: Server, now_ms: int, neighbours: Sequence[Server]
    ) -> Flow[None]:
        """On a Cluster, what became of a node is told to the marks in all its slots at once.

        Each would find out by itself, but only when it is next asked for, and would then take that for the moment.
        """

        def telling(keys: Sequence[str]) -> Flow[list[Remember]]:
            """What is still to be told, once there is a mark under each key."""
            found = yield from self._remember([Remember(key, "", seen.dumps()) for key in keys])
            told = []
            for key, one in zip(keys, found, strict=True):
                stood = Mark.loads(one.text)
                stands = stood and looked_at(stood, server, now_ms, seen.keeps, neighbours)
                if stands and stands != stood:
                    told.append(Remember(key, one.text, stands.dumps()))
            return told

        others = self._servers.siblings(mark.key, begin.key)
        # The first of them is told last: where it knows already, another process has told them all.
        if not others or (seen.why is not Why.MISSING and not (yield from telling(others[:1]))):
            return
        for at in range(len(others), 0, -BATCH):
            told = yield from telling(others[max(0, at - BATCH) : at])
            if told:
                yield from self._remember(told)

    def _remember(self, ops: Sequence[Op[Any]]) -> Flow[list[Remembered]]:
        answered = yield from self._servers.answering(ops, self._durability.command_behind(ops))
        found: list[Remembered] = parsed(ops, answered.replies)
        return found

    def _kept(self, key: str, run: str) -> Flow[bool | None]:
        """Whether a server process keeps every acknowledged write; None where it does not say."""
        if self._durability.level is Level.AOF:
            return True
        keeps, asked_s = self._keeps.get(run, (None, float("-inf")))
        if self._clock_s() - asked_s < ASKED_AGAIN_S:
            return keeps
        pipe = self._servers.serving(key).pipeline(transaction=False)
        pipe.info("server")
        pipe.config_get("append*")
        info, config = yield pipe.execute(raise_on_error=False)
        # Another process may have taken over since the mark was read.
        if isinstance(info, Exception) or info.get("run_id") != run:
            return None
        keeps = None
        if not isinstance(config, redis_errors.RedisError):
            keeps = (config.get("appendonly"), config.get("appendfsync")) == ("yes", "always")
        self._keeps = {**self._keeps, run: (keeps, self._clock_s())}
        return keeps


def _concerns_all(stood: Mark, seen: Mark, anew: bool, neighbours: Sequence[Server]) -> bool:
    """Whether it is news of the server, not of one slot of a Cluster. Evictions are news all the time."""
    if anew:
        return seen.why is not Why.EVICTED
    moved_here = stood.run in {other.run for other in neighbours}
    return stood.keeps != seen.keeps or (stood.run != seen.run and not moved_here)


def _say(key: str, mark: Mark, level: int) -> None:
    since = datetime.fromtimestamp(mark.since_ms / 1000, UTC).isoformat(timespec="milliseconds")
    log.log(
        level,
        "%s: the store's memory begins anew at %s: %s. Signals of candles that closed before are not taken for new.",
        key,
        since,
        mark.why.in_words,
    )
