"""The network between worker and store, worker and broker, worker and API loses, delays, cuts short and resets things.

Each case has an instrument of its own, and its fault strikes the n-th request or reply in which that instrument is
named, so that all cases of a deployment run at once. The sweep comes from a worker that no fault strikes.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product

import pytest

from dedup.signals import signal_id
from tests.faults.conftest import Recovered
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import Deployment
from tests.pipeline.feeds import HOUR, ORIGIN, candle_of
from tests.pipeline.preloaded import Preloaded
from tests.pipeline.proxy import Proxy
from tests.pipeline.proxy import Struck as Proxied
from tests.pipeline.strikes import KINDS, PLACES, Strike

SETTINGS = {"MAX_FAILURES": "5", "VISIBILITY_TIMEOUT": "8"}
STORE_TIMEOUT_S, BROKER_TIMEOUT_S = 0.7, 1.5
"""Whoever hears nothing for so long gives a connection up. The broker is asked for messages for a second at a time."""

DELAY_S = 0.4
SWEEP_EVERY_S = 0.4
POLL_S = 0.1

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Case:
    """One fault.

    Attributes:
        between: a worker and the record of a `candle` or a `signal` in the store; or the broker while a candle's
            message is taken (`consuming`) or a signal's is sent (`enqueueing`); or the `api`.
        strike: without its needle.
        policy: for unknown outcomes.
        instrument: of its own.
    """

    between: str
    strike: Strike
    policy: str
    instrument: str

    def __str__(self) -> str:
        return f"{self.between}-{self.strike}-{self.policy}".replace(" ", "-")

    @property
    def aimed(self) -> Strike:
        """The strike, with its needle."""
        said = NEEDLES[self.between](self.instrument)
        given = self.strike
        return Strike(given.kind, given.at, given.nth, needle=said, seconds=DELAY_S)


def _signal_body(instrument: str) -> bytes:
    candle = candle_of(instrument)
    name = signal_id("always_buy", instrument, candle.timeframe, candle.start)
    return _in_base64(f'[[], {{"signal": {{"id": "{name}", ')


def _in_base64(beginning: str) -> bytes:
    """How a message's body begins on the wire, whatever follows."""
    return b64encode(beginning.encode()[: len(beginning) // 3 * 3])


NEEDLES: dict[str, Callable[[str], bytes]] = {
    "candle": lambda name: f"candle:{name}:".encode(),
    "signal": lambda name: f"signal:publish:{name}:".encode(),
    "consuming": lambda name: _in_base64(f'[[], {{"instrument": "{name}", '),
    "enqueueing": _signal_body,
    "api": lambda name: f'"{name}"'.encode(),
}
"""What is said where an instrument is named."""


def _cases() -> Iterator[Case]:
    number = 0
    spans = [
        ("candle", 2, "hold"),
        ("signal", 2, "hold"),
        ("consuming", 1, "hold"),
        ("enqueueing", 1, "hold"),
        ("api", 1, "hold"),
        ("api", 1, "resend"),
    ]
    for (between, most, policy), at, kind in product(spans, PLACES, KINDS):
        for nth in range(1, most + 1):
            number += 1
            yield Case(between, Strike(kind, at, nth), policy, f"I{number}X")


CASES = list(_cases())


class Struck:
    """A deployment whose worker reaches one of its neighbours through a proxy that strikes."""

    def __init__(self, stack: ExitStack, deployment: Deployment, preloaded: Preloaded, cases: Sequence[Case]) -> None:
        self.deployment, self.cases = deployment, cases
        deployment.launch = preloaded.launch
        engine, api = deployment.engine, deployment.receiver
        self.store, self.broker = (stack.enter_context(Proxy(engine.port)) for _ in range(2))
        self.api = stack.enter_context(Proxy(api.port))
        env = {
            "REDIS_URL": f"{self.store.through(engine.url)}?socket_timeout={STORE_TIMEOUT_S}",
            "CELERY_BROKER_URL": f"{self.broker.through(engine.url)}?socket_timeout={BROKER_TIMEOUT_S}",
            "SIGNAL_API_URL": self.api.through(api.signals_url),
        }
        self.worker = deployment.worker("struck", "candles,publish", processes=4, wait=False, **env)
        deployment.worker("sweeping", "control", processes=1, wait=False)
        for case in cases:
            deployment.feed(case.instrument, [ORIGIN - HOUR, ORIGIN])

    def begin(self) -> None:
        """Put every strike and send every candle."""
        for process in self.deployment.processes.values():
            process.ready()
        self.store.put(*(case.aimed for case in self.cases if case.between in ("candle", "signal")))
        self.broker.put(*(case.aimed for case in self.cases if case.between in ("consuming", "enqueueing")))
        self.api.put(*(case.aimed for case in self.cases if case.between == "api"))
        for case in self.cases:
            self.deployment.evaluate(candle_of(case.instrument))

    def settle(self) -> None:
        """Wait until every candle and signal is settled."""
        swept_s = 0.0

        def settled() -> bool:
            nonlocal swept_s
            time.sleep(POLL_S)
            if self.worker.status != "running":
                self.worker.start()
            if time.monotonic() - swept_s > SWEEP_EVERY_S:
                swept_s = time.monotonic()
                self.deployment.app.send_task("sweep", expires=2 * SWEEP_EVERY_S)
            ways = (self.deployment.candle_outcome, self.deployment.signal_outcome)
            return all(way(candle_of(case.instrument)) for case in self.cases for way in ways)

        self.deployment.until(settled, "everything to be settled", 200)

    def recovery_s(self, case: Case) -> float:
        """From the strike to the settling; 0 where it was settled before."""
        candle = candle_of(case.instrument)
        records = self.deployment.candle_record(candle), self.deployment.signal_record(candle)
        settled_s = max(record.at_ms for record in records if record) / 1000
        struck = self.struck(case)
        ago_s = time.monotonic() - struck.at_s
        return max(0.0, settled_s - (time.time() - ago_s))

    def struck(self, case: Case) -> Proxied:
        """What the proxy says of it."""
        every = (*self.store.struck, *self.broker.struck, *self.api.struck)
        return next(one for one in every if one.strike == case.aimed)


NEIGHBOURS = {"candle": "store", "signal": "store", "consuming": "broker", "enqueueing": "broker", "api": "api"}


def group_of(case: Case) -> str:
    """The deployment that a case runs in."""
    return f"{NEIGHBOURS[case.between]}, {case.policy}"


GROUPS = sorted({group_of(case) for case in CASES})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Struck]]:
    """The deployments, when everything in them is settled."""
    with ExitStack() as stack:
        preloaded = stack.enter_context(Preloaded())
        found = {}
        for group in GROUPS:
            cases = [case for case in CASES if group_of(case) == group]
            watches = [watch(*(case.instrument for case in cases))]
            home = tmp_path_factory.mktemp("run")
            deployment = stack.enter_context(deploy(home, watches, ON_UNKNOWN=cases[0].policy, **SETTINGS))
            found[group] = Struck(stack, deployment, preloaded, cases)
        for run in found.values():
            run.begin()
        for run in found.values():
            run.settle()
        yield found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_is_lost(runs: dict[str, Struck], recovered: Recovered, case: Case) -> None:
    """The fault struck; the candle is evaluated and its signal posted, or, where nobody can know and the policy is
    `hold`, HELD with its reason.
    """
    run, candle = runs[group_of(case)], candle_of(case.instrument)
    assert run.struck(case)
    assert run.deployment.candle_outcome(candle) == "evaluated"
    in_doubt = case.policy == "hold" and case.between != "candle"
    assert run.deployment.signal_outcome(candle) in ({"posted", "held"} if in_doubt else {"posted"})
    record = run.deployment.signal_record(candle)
    assert record is not None
    assert record.reason
    recovered(f"{case.strike.kind} between worker and {group_of(case)}", run.recovery_s(case))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_is_posted_twice(runs: dict[str, Struck], case: Case) -> None:
    """Under `hold` there is at most one POST, under `resend` one effect."""
    run, candle = runs[group_of(case)], candle_of(case.instrument)
    if case.policy == "hold":
        assert len(run.deployment.posts(candle)) <= 1
    posted = run.deployment.signal_outcome(candle) == "posted"
    assert run.deployment.effects(candle) in ({1} if posted else {0, 1})
