"""The demonstration's judgement: each thing that may go wrong fails it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dedup.rules import new_token
from dedup.signals import digest
from tasks.evidence import Expected, Verdict, expect, judge, unsettled
from tasks.runtime import Pipeline, make_pipeline
from tasks.settings import Settings, load_settings

FIRST = datetime(2012, 9, 10, tzinfo=UTC)
LAST = FIRST + timedelta(days=30)
MAX_AGE_S = 86_400.0


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    demo = Path(__file__).parents[2] / "tasks" / "demo.toml"
    settings = load_settings(
        _env_file=None, redis_enabled=False, watchlist=demo, signal_api_url="http://127.0.0.1:9/signals"
    )
    yield make_pipeline(settings)


@pytest.fixture
def expected(line: Pipeline) -> Expected:
    return expect(line.watchlist, FIRST, LAST, MAX_AGE_S)


def work_all(line: Pipeline, expected: Expected) -> dict[str, int]:
    """Every candle evaluated, every signal posted once."""
    for candle in expected.candles:
        cache = line.candles(candle.timeframe)
        cache.complete(cache.key(candle.instrument, candle.timeframe, candle.start), new_token(), "evaluated")
    return dict.fromkeys(expected.signals, 1)


def verdict_of(line: Pipeline, expected: Expected, effects: dict[str, int]) -> Verdict:
    return judge(line, expected, effects, sum(effects.values()))


def test_expectation_comes_from_the_bars(expected: Expected) -> None:
    """Thirty days of five instruments have 110 candles in which New York traded, and a dozen signals or more."""
    assert len(expected.candles) == 110
    assert len(expected.signals) >= 12


def test_all_well_is_good(line: Pipeline, expected: Expected) -> None:
    """Every candle evaluated and every signal with one effect is good."""
    verdict = verdict_of(line, expected, work_all(line, expected))
    assert verdict.good
    assert (verdict.evaluated, len(verdict.posted)) == (len(expected.candles), len(expected.signals))


def test_double_effect_fails(line: Pipeline, expected: Expected) -> None:
    """A signal that had two effects fails it."""
    effects = work_all(line, expected)
    twice = next(iter(effects))
    verdict = verdict_of(line, expected, effects | {twice: 2})
    assert (verdict.good, verdict.doubled) == (False, (twice,))


def test_lost_signal_fails(line: Pipeline, expected: Expected) -> None:
    """A signal without an effect and without a reason is lost."""
    effects = work_all(line, expected)
    name, _ = effects.popitem()
    verdict = verdict_of(line, expected, effects)
    assert (verdict.good, verdict.settled, verdict.lost) == (False, False, (name,))


def test_held_signal_is_not_lost(line: Pipeline, expected: Expected) -> None:
    """A signal that is held has its reason in the store."""
    effects = work_all(line, expected)
    name, _ = effects.popitem()
    signal = expected.signals[name]
    key = line.signals.key(signal.instrument, signal.candle_start, signal.timeframe, signal.strategy)
    rules, token, mark = line.signals.rules, new_token(), digest(signal.body())
    line.signals.ask([rules.claim(key, token, mark), rules.doubt(key, token, mark, "read timeout", hold=True)])
    verdict = verdict_of(line, expected, effects)
    assert (verdict.good, verdict.held) == (True, (name,))


def test_missing_candle_fails(line: Pipeline, expected: Expected) -> None:
    """A candle that nobody evaluated fails it."""
    effects = work_all(line, expected)
    candle = expected.candles[0]
    cache = line.candles(candle.timeframe)
    cache.delete(cache.key(candle.instrument, candle.timeframe, candle.start))
    verdict = verdict_of(line, expected, effects)
    assert (verdict.good, verdict.missing) == (False, (candle,))


def test_effect_that_no_bar_asks_for_fails(line: Pipeline, expected: Expected) -> None:
    """An effect under an id that the bars do not ask for fails it."""
    verdict = verdict_of(line, expected, work_all(line, expected) | {"sig_invented": 1})
    assert (verdict.good, verdict.unexpected) == (False, ("sig_invented",))


def test_unsettled_counts_what_is_open(line: Pipeline, expected: Expected) -> None:
    """Candles and signals without a settled record are open."""
    assert unsettled(line, expected) == len(expected.candles) + len(expected.signals)
    work_all(line, expected)
    assert unsettled(line, expected) == len(expected.signals)
