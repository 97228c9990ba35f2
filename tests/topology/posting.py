"""Publishers whose API only counts, and signals of candles that closed when the test says."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from dedup.cache import SignalPublishCache
from dedup.delivery import Attempted, Message, Verdict
from dedup.errors import StoreError
from dedup.publish_flow import Publication, Published
from dedup.publisher import SignalPublisher
from dedup.rules import SignalRules
from dedup.signals import digest
from dedup.stores.protocol import Store
from dedup.stores.redis import RedisStore

LONG_AGO_MS = 1_700_000_000_000
SINCE = "dedup:since"


class Posts:
    """An API that takes every signal and remembers how often."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()
        self._lock = threading.Lock()

    def send(self, message: Message, attempt: int) -> Attempted:
        with self._lock:
            self.of[message.id] += 1
        return Attempted(Verdict.POSTED, "201", 201)

    def look_up(self, signal_id: str) -> Attempted:
        raise AssertionError("nobody asked for look-ups")

    @property
    def doubled(self) -> list[str]:
        return [name for name, times in self.of.items() if times > 1]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def signal(name: str, closed_at_ms: int | None = None) -> Publication:
    """A signal of a candle that closed just now, unless the test says when."""
    body = f'{{"id":"{name}"}}'.encode()
    closed_at_ms = now_ms() if closed_at_ms is None else closed_at_ms
    return Publication(f"signal:publish:{name}", Message(name, body), digest(body), closed_at_ms)


def publisher(store: Store, posts: Posts) -> SignalPublisher:
    """A publisher that holds what nobody knows."""
    return SignalPublisher(SignalPublishCache(store, SignalRules(lease_ms=60_000, send_ms=100)), posts)


def outcomes(store: Store, posts: Posts, jobs: Iterable[Publication]) -> list[str]:
    """How each of these signals ends, one after the other."""
    line = publisher(store, posts)
    return [line.publish_job(job).outcome for job in jobs]


def persistently(line: SignalPublisher, job: Publication, tries: int = 400) -> Published:
    """Publish as a task does: again while the store is away, for as long as the test is patient."""
    for _ in range(tries):
        try:
            return line.publish_job(job)
        except StoreError:
            time.sleep(0.05)
    raise TimeoutError(job.key)


def all_at_once(
    stores: Sequence[RedisStore], posts: Posts, jobs: Sequence[Publication], meanwhile: Callable[[], None]
) -> list[Published]:
    """Publish every signal through every store, in threads, while something happens."""
    lines = [publisher(store, posts) for store in stores]
    with ThreadPoolExecutor(len(lines)) as pool:
        running = [pool.submit(lambda of=line: [persistently(of, job) for job in jobs]) for line in lines]
        meanwhile()
        return [published for one in running for published in one.result()]
