"""One run of chaos: start a world, strike it as the schedule says, wait until it has settled, gather the evidence."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.receiver import Post
from tests.chaos.faults import FAULTS, NotDone
from tests.chaos.judge import Arrived, Due, Fate, Name, Policy, Verdict, judge
from tests.chaos.market import Market, market_of
from tests.chaos.schedule import FORGETTING, WEIGHTS, Fault, draw, dumps
from tests.chaos.world import Terms, World

LEAD_S = 8.0
HORIZON_S = 600.0
AT_ONCE = 24
TOLD_EVERY_S = 15.0

log = logging.getLogger("chaos")


@dataclass(frozen=True)
class Options:
    """What is run.

    Attributes:
        signals: how many are due at least.
        seed: of the schedule.
        policy, plain: see `Terms`. By default `resend` goes with an API that honours Idempotency-Key, and `hold` with
            a plain one, which asks more of it.
        forgetting: FLUSHALL is among the faults.
        instruments, strategies: their product is the number of signals of a close.
        per_s: signals due per second, on average.
        gap_s: mean time from one fault to the next.
        sweep_s: each beat sweeps once in this time.
        patience_s: how long after the last close and the last fault it may take to settle.
        schedule: to replay, instead of one drawn from the seed.
    """

    signals: int
    seed: int
    policy: Policy = "resend"
    plain: bool | None = None
    forgetting: bool = False
    instruments: int = 25
    strategies: int = 2
    per_s: float = 25.0
    gap_s: float = 2.0
    sweep_s: float = 4.0
    patience_s: float = 400.0
    schedule: tuple[Fault, ...] | None = None

    def market(self, opens_at: datetime) -> Market:
        """The market that asks for so many signals."""
        return market_of(self.signals, self.per_s, opens_at, self.instruments, self.strategies)

    def faults(self, market: Market) -> list[Fault]:
        """The schedule."""
        if self.schedule is not None:
            return list(self.schedule)
        weights = {**WEIGHTS, **FORGETTING} if self.forgetting else WEIGHTS
        return draw(self.seed, market.duration_s, self.gap_s, weights)

    def terms(self, market: Market) -> Terms:
        """What is promised. Where Redis forgets, everything has to be within reach of the sweep."""
        least_s = market.duration_s if self.forgetting else 0.0
        plain = self.policy == "hold" if self.plain is None else self.plain
        return Terms(self.policy, plain, least_s + HORIZON_S, self.sweep_s)


@dataclass(frozen=True, slots=True)
class Struck:
    """One fault as it happened.

    Attributes:
        began, ended: wall time.
        what: it did, or why it could not.
        done: whether it could.
    """

    fault: Fault
    began: datetime
    ended: datetime
    what: str
    done: bool


@dataclass(frozen=True)
class Result:
    """The evidence of a run.

    Attributes:
        home: every file of it.
        took_s: from the first close until it had settled.
        restarts: how often each process was started again, by name.
    """

    options: Options
    home: Path
    schedule: Sequence[Fault]
    struck: Sequence[Struck]
    due: dict[Name, Due]
    posts: Sequence[Post]
    arrived: Sequence[Arrived]
    fates: dict[Name, Fate]
    verdict: Verdict
    took_s: float
    restarts: dict[str, int]
    api_starts: int
    torn: int
    records: dict[Name, str] = field(default_factory=dict)


def run(options: Options, home: Path | None = None, tell: Callable[[str], None] = log.info) -> Result:
    """Run it, whatever comes of it.

    Args:
        home: an empty directory; a new one by default. It is left behind.
        tell: is given lines about the progress.
    """
    home = home or Path(tempfile.mkdtemp(prefix="chaos-"))
    market = options.market(datetime.now(UTC) + timedelta(seconds=LEAD_S))
    schedule = options.faults(market)
    (home / "schedule.json").write_text(dumps(schedule))
    tell(f"seed {options.seed}, {market.signals} signals in {market.duration_s:.0f} s, {len(schedule)} faults, {home}")
    with World(home, market, options.terms(market)) as world:
        world.start_pipeline()
        struck = list(_strike_all(world, schedule, tell))
        _progress(world, market.opens_at + timedelta(seconds=market.duration_s), tell)
        open_still = _settle(world, options.patience_s, tell)
        took_s = (datetime.now(UTC) - market.opens_at).total_seconds()
        restarts = world.supervisor.restarts()
        world.stop_pipeline()
        return _evidence(world, options, schedule, struck, took_s, restarts, open_still)


def _strike_all(world: World, schedule: Sequence[Fault], tell: Callable[[str], None]) -> Iterator[Struck]:
    """Strike when it is time, several at once where they last; wait for the last one to end."""
    pending: list[Future[Struck]] = []
    with ThreadPoolExecutor(AT_ONCE, "strike") as pool:
        for fault in schedule:
            _progress(world, world.market.opens_at + timedelta(seconds=fault.at_s), tell)
            pending.append(pool.submit(_strike, world, fault))
        for future in pending:
            yield future.result()


def _strike(world: World, fault: Fault) -> Struck:
    began = datetime.now(UTC)
    try:
        what, done = FAULTS[fault.kind](world, fault.parameters), True
    except Exception as error:
        if not isinstance(error, NotDone) and not _of_broker(error):
            raise
        what, done = f"could not: {type(error).__name__}: {error}".splitlines()[0][:120], False
    log.info("%6.1f s  %s: %s", (began - world.market.opens_at).total_seconds(), fault.kind, what)
    return Struck(fault, began, datetime.now(UTC), what, done)


def _of_broker(error: Exception) -> bool:
    return type(error).__module__.startswith(("kombu", "celery"))


def _progress(world: World, until: datetime, tell: Callable[[str], None]) -> None:
    """Wait, and tell now and then how it goes."""
    while (left_s := (until - datetime.now(UTC)).total_seconds()) > 0:
        time.sleep(min(left_s, 1.0))
        if int(time.monotonic() / TOLD_EVERY_S) != int((time.monotonic() - 1.0) / TOLD_EVERY_S):
            tell(_situation(world))


def _situation(world: World) -> str:
    since_s = (datetime.now(UTC) - world.market.opens_at).total_seconds()
    return f"{since_s:6.0f} s  API {world.api_totals()}  waiting {world.waiting()}"


def _settle(world: World, patience_s: float, tell: Callable[[str], None]) -> list[Name]:
    """Wait until every signal is settled, or for long enough to call it lost: those that are open then."""
    until, told_at = time.monotonic() + patience_s, time.monotonic()
    open_still = world.unsettled(world.market.expected())
    while open_still and time.monotonic() < until:
        time.sleep(0.5 + len(open_still) / 2_000)
        open_still = world.unsettled(open_still)
        if time.monotonic() - told_at > TOLD_EVERY_S:
            told_at = time.monotonic()
            tell(f"{_situation(world)}  {len(open_still)} open")
    return open_still


def _evidence(
    world: World,
    options: Options,
    schedule: Sequence[Fault],
    struck: Sequence[Struck],
    took_s: float,
    restarts: dict[str, int],
    open_still: Sequence[Name],
) -> Result:
    api_log = world.api_log()
    due = world.market.expected()
    arrived = [arrival_of(post) for post in api_log.posts]
    fates = world.fates(due)
    verdict = judge(due, arrived, fates, options.policy)
    records = world.stored([*verdict.offending[:20], *open_still[:20]])
    return Result(
        options=options,
        home=world.home,
        schedule=schedule,
        struck=struck,
        due=due,
        posts=api_log.posts,
        arrived=arrived,
        fates=fates,
        verdict=verdict,
        took_s=took_s,
        restarts=restarts,
        api_starts=api_log.starts,
        torn=api_log.torn,
        records=records,
    )


def arrival_of(post: Post) -> Arrived:
    """A line of the API's log as the judge takes it."""
    decision = post.decision
    refused = decision is not None and decision.fault == "refuse" and not decision.effect
    return Arrived(_name(post), post.key or "", post.at, post.effect, refused)


def _name(post: Post) -> Name | None:
    try:
        body = json.loads(post.body)
        return Name(body["strategy"], body["instrument"], body["timeframe"], body["candle_start"])
    except (ValueError, KeyError, TypeError):
        return None
