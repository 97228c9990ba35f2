"""CandleDetector in both flavours: which candle a trigger is for, and what becomes of the claim."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from dedup import CandleCache, CandleCheck, CandleDetector, CandleRules, InvalidInput, MemoryStore, State
from dedup.alignment import NY17
from tests.contract.subjects import SetClock
from tests.engines import Engine
from tests.seed.flavours import Flavour, told

CLOSE = datetime(2025, 1, 1, 10, 30, tzinfo=UTC)
KEY = "candle:GOLD:15m:2025-01-01T10:15:00"
FOUR_HOURS_MS = 4 * 3_600_000


class Timed:
    """Detectors of one flavour over one memory whose clock the test moves."""

    def __init__(self, flavour: Flavour) -> None:
        self.clock = SetClock()
        self.memory = MemoryStore(clock_ms=self.clock)
        self._flavour = flavour

    def detector(self, rules: CandleRules | None = None, **options: Any) -> Any:
        cache = self._flavour.names.CandleCache(self._flavour.memory(self.memory), rules)
        return self._flavour.names.CandleDetector(redis_cache=cache, **options)


@pytest.fixture
def timed(process: None, flavour: Flavour) -> Timed:
    return Timed(flavour)


async def check(detector: Any, moment: datetime = CLOSE, timeframe: str = "15m") -> CandleCheck:
    found: CandleCheck = await told(detector.check("GOLD", timeframe, moment))
    return found


@pytest.mark.parametrize(
    ("moment", "start"),
    [
        ("2025-01-01T10:30:00Z", "2025-01-01T10:15:00Z"),
        ("2025-01-01T10:30:00.000001Z", "2025-01-01T10:15:00Z"),
        ("2025-01-01T10:29:59.999999Z", "2025-01-01T10:00:00Z"),
        ("2025-01-01T10:44:59Z", "2025-01-01T10:15:00Z"),
        ("2025-01-01T11:30:00+01:00", "2025-01-01T10:15:00Z"),
    ],
)
async def test_trigger_is_for_the_last_closed_candle(timed: Timed, moment: str, start: str) -> None:
    """A trigger is for the candle that closed last by then: never for one that is still open."""
    found = await check(timed.detector(), datetime.fromisoformat(moment))
    assert found.candle.start == datetime.fromisoformat(start)
    assert (found.candle.instrument, str(found.candle.timeframe), found.process) == ("GOLD", "15m", True)


async def test_names_are_normalised(timed: Timed) -> None:
    """Spelling an instrument otherwise makes no other candle of it."""
    detector = timed.detector()
    assert await told(detector.should_process_candle_async("GOLD", "15m", CLOSE))
    assert not await told(detector.should_process_candle_async(" gold ", "15m", CLOSE))


async def test_naive_timestamps_are_utc_in_the_seeds_methods_only(timed: Timed) -> None:
    """The seed's methods take a naive timestamp for UTC, as `datetime.utcnow()` gives it; `check` refuses it."""
    detector = timed.detector()
    assert await told(detector.should_process_candle_async("GOLD", "15m", CLOSE.replace(tzinfo=None)))
    assert not await told(detector.should_process_candle_async("GOLD", "15m", CLOSE))
    tokyo = CLOSE.astimezone(timezone(timedelta(hours=9)))
    assert not await told(detector.should_process_candle_async("GOLD", "15m", tokyo))
    with pytest.raises(InvalidInput, match="timezone-aware"):
        await check(detector, CLOSE.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("instrument", "timeframe", "moment"),
    [("", "15m", CLOSE), ("a:b", "15m", CLOSE), ("GOLD", "15", CLOSE), ("GOLD", "15m", None), ("GOLD", "15m", "now")],
)
async def test_malformed_triggers_are_refused(timed: Timed, instrument: str, timeframe: str, moment: Any) -> None:
    """What is no instrument, timeframe or moment is an error that says so, and claims nothing."""
    with pytest.raises(InvalidInput):
        await told(timed.detector().should_process_candle_async(instrument, timeframe, moment))
    assert len(timed.memory) == 0


@pytest.mark.parametrize("late_s", [0, 59.9, 60])
async def test_trigger_within_the_window_is_on_time(timed: Timed, late_s: float) -> None:
    """Up to the window after the close a trigger is on time."""
    found = await check(timed.detector(), CLOSE + timedelta(seconds=late_s))
    assert (found.process, found.on_time, found.catch_up, found.late_s) == (True, True, False, late_s)


async def test_late_trigger_is_worked_and_says_so(timed: Timed, caplog: pytest.LogCaptureFixture) -> None:
    """A late trigger is not dropped: it is worked as catch-up, once, which the answer and one log line tell."""
    caplog.set_level(logging.INFO, "dedup.candles")
    detector = timed.detector()
    found = await check(detector, CLOSE + timedelta(seconds=312))
    assert (found.process, found.on_time, found.catch_up, found.late_s) == (True, False, True, 312)
    assert not (await check(detector, CLOSE + timedelta(seconds=320))).catch_up
    (line,) = caplog.messages
    assert "GOLD 15m 2025-01-01T10:15Z" in line
    assert "catch-up, 312 s after its close" in line


async def test_window_may_be_chosen(timed: Timed) -> None:
    """The window is the detector's own where it is given."""
    found = await check(timed.detector(check_window_s=400), CLOSE + timedelta(seconds=312))
    assert found.on_time


@pytest.mark.parametrize("name", ["check_window_s", "lease_s", "horizon_s"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
async def test_durations_are_positive(timed: Timed, name: str, seconds: float) -> None:
    """A duration that is not positive is refused by its name."""
    with pytest.raises(InvalidInput, match=name):
        timed.detector(**{name: seconds})


async def test_claim_without_a_lease_stands_until_its_record_ends(timed: Timed) -> None:
    """Nobody has to say that the work is done: the candle is not given again while its record is kept."""
    detector = timed.detector()
    assert (await check(detector)).process
    timed.clock.pass_ms(3_599_000)
    again = await check(timed.detector())
    assert (again.answer, again.attempt, again.source) == ("busy", 1, "memory")


async def test_record_outlives_the_candle(timed: Timed) -> None:
    """A record is kept for two timeframes at least: a 4h candle is not given again while it is the last one closed."""
    detector = timed.detector()
    noon = CLOSE.replace(hour=12, minute=0)
    assert (await check(detector, noon, "4h")).process
    timed.clock.pass_ms(FOUR_HOURS_MS - 1)
    assert not (await check(detector, noon + timedelta(hours=4, milliseconds=-1), "4h")).process


async def test_candle_whose_worker_died_comes_back_after_the_lease(timed: Timed) -> None:
    """With a lease a candle that nobody completed is given again when the lease is over, as the next attempt."""
    first = await check(timed.detector(lease_s=90))
    timed.clock.pass_ms(89_000)
    assert (await check(timed.detector(lease_s=90))).answer == "busy"
    timed.clock.pass_ms(1_001)
    again = await check(timed.detector(lease_s=90))
    assert (first.attempt, again.process, again.attempt) == (1, True, 2)


async def test_completed_candle_is_never_given_again(timed: Timed) -> None:
    """A completed candle is a duplicate, also after the lease, and tells how it ended."""
    detector = timed.detector(lease_s=90)
    found = await check(detector)
    settled = await told(detector.complete(found, "evaluated", {"signals": 1}, "all well"))
    assert (settled.acted, settled.record.value) == (True, {"signals": 1})
    timed.clock.pass_ms(91_000)
    again = await check(detector)
    assert (again.answer, again.outcome, again.token) == ("duplicate", "evaluated", "")


async def test_released_candle_is_given_at_once(timed: Timed) -> None:
    """A candle that is given back goes to the next caller, with and without a lease."""
    for lease_s in (None, 90):
        detector = timed.detector(lease_s=lease_s)
        found = await check(detector)
        assert (await told(detector.release(found, "no bar yet"))).acted
        again = await check(detector)
        assert (again.process, again.attempt) == (True, found.attempt + 1)
        await told(detector.release(again))


async def test_candle_that_keeps_failing_is_given_up(timed: Timed) -> None:
    """A candle that is released as failed as often as the cap allows is DONE `failed`."""
    detector = timed.detector(CandleRules(max_failures=2))
    for _ in range(2):
        await told(detector.release(await check(detector), "ValueError", failed=True))
    given_up = await check(detector)
    assert (given_up.answer, given_up.outcome) == ("duplicate", "failed")


async def test_only_the_holder_may_settle(timed: Timed) -> None:
    """Who was not told to process the candle can neither complete nor release it."""
    detector = timed.detector()
    await check(detector)
    other = await check(detector)
    for settle in (detector.complete, detector.release):
        with pytest.raises(InvalidInput, match="acquired"):
            await told(settle(other))


async def test_candles_older_than_the_horizon_are_expired(timed: Timed) -> None:
    """With a horizon an older candle is refused before anything is claimed: its record may be gone already."""
    detector = timed.detector(horizon_s=1800, now=lambda: CLOSE + timedelta(seconds=1801))
    found = await check(detector)
    assert (found.answer, found.process, found.source) == ("expired", False, "")
    assert len(timed.memory) == 0
    assert (await check(timed.detector(horizon_s=1800, now=lambda: CLOSE + timedelta(seconds=1800)))).process


async def test_alignment_may_be_chosen(timed: Timed) -> None:
    """Under `ny17` a day closes at 17:00 New York."""
    evening = datetime(2025, 1, 2, 22, 0, tzinfo=UTC)
    found = await check(timed.detector(alignment=NY17), evening, "1d")
    assert (found.candle.start, found.candle.close) == (evening - timedelta(days=1), evening)


async def test_one_of_two_detectors_over_redis_gets_the_candle(engine: Engine, flavour: Flavour) -> None:
    """Detectors over one Redis give a candle once, say where the answer came from, and leave a record to look at."""
    detectors = [flavour.names.CandleDetector(redis_cache=await flavour.candle_cache()) for _ in range(2)]
    first, second = [await check(detector) for detector in detectors]
    assert (first.process, first.source, first.key) == (True, "redis", KEY)
    assert (second.answer, second.source) == ("busy", "redis")
    await told(detectors[0].complete(first))
    cache = await flavour.candle_cache()
    record = await told(cache.record(KEY))
    assert (record.state, record.outcome) == (State.DONE, "evaluated")
    # Completing it has told the whole process.
    assert [(await check(detectors[1])).source for _ in range(2)] == ["local", "local"]


async def test_blocking_detector_may_be_awaited(process: None) -> None:
    """The blocking detector's awaitable method claims what its blocking one claims."""
    detector = CandleDetector(redis_cache=CandleCache(MemoryStore()))
    assert await detector.should_process_candle_async("GOLD", "15m", CLOSE)
    assert not detector.should_process_candle("GOLD", "15m", CLOSE)
