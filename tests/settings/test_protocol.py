"""Settings that break the protocol: each is fine, together they are refused; the error names both and both values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.errors import InvalidSetting
from dedup.timeframe import Timeframe
from tasks.candles import PATIENCE_S
from tasks.settings import Settings, load_settings
from tests.settings.conftest import Environment

REFUSED = [
    ("HTTP_DEADLINE", "30", "PUBLISH_TIME_LIMIT", "30", "must be below PUBLISH_TIME_LIMIT = 30"),
    ("HTTP_DEADLINE", "31", "PUBLISH_TIME_LIMIT", "30", "must be below PUBLISH_TIME_LIMIT = 30"),
    ("PUBLISH_TIME_LIMIT", "45", "PUBLISH_LEASE", "45", "must be below PUBLISH_LEASE = 45"),
    ("CANDLE_TIME_LIMIT", "75.5", "CANDLE_LEASE", "75.5", "must be below CANDLE_LEASE = 75.5"),
    ("HORIZON", "86400", "SIGNAL_TTL", "86400", "must be below SIGNAL_TTL = 86400"),
    ("SWEEP_GRACE", "3600", "HORIZON", "3600", "must be below HORIZON = 3600"),
    ("VISIBILITY_TIMEOUT", "179", "CANDLE_TIME_LIMIT", "60", "must be at least 3 x CANDLE_TIME_LIMIT = 180"),
    ("VISIBILITY_TIMEOUT", "299", "PUBLISH_TIME_LIMIT", "100", "must be at least 3 x PUBLISH_TIME_LIMIT = 300"),
    ("WATCH_FROM", "2025-01-02T00:00:00Z", "WATCH_UNTIL", "2025-01-01T00:00:00Z", "must be before WATCH_UNTIL = 2025"),
]
MENDS = {"PUBLISH_LEASE": "120", "CANDLE_LEASE": "76", "SIGNAL_TTL": "86401"}


@pytest.mark.parametrize(("name", "value", "other", "others", "remedy"), REFUSED)
def test_order_that_the_protocol_needs_is_checked(
    environment: Environment, name: str, value: str, other: str, others: str, remedy: str
) -> None:
    """Two settings in the wrong order are refused at start-up: the error names both, with both values."""
    environment(**{**MENDS, name: value, other: others})
    with pytest.raises(InvalidSetting) as refused:
        load_settings()
    assert refused.value.what == name
    assert refused.value.value in {value, f"{value.removesuffix('Z')}+00:00"}
    assert remedy in refused.value.remedy


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"HTTP_DEADLINE": "29.9"},
        {"CANDLE_TIME_LIMIT": "74.9"},
        {"HORIZON": "86399"},
        {"SWEEP_GRACE": "3599"},
        {"VISIBILITY_TIMEOUT": "180"},
    ],
)
def test_order_that_just_holds_is_accepted(environment: Environment, values: dict[str, str]) -> None:
    """The defaults hold to the protocol, and so does every value up to the bound."""
    environment(**values)
    settings = load_settings()
    assert all(getattr(settings, name.lower()) == float(value) for name, value in values.items())


def test_horizon_is_compared_in_wall_seconds(environment: Environment) -> None:
    """A horizon that is long in the market is short on the wall where the clock runs fast: what counts is the wall."""
    fast = "2025-01-01T00:00:00Z@2025-01-01T00:00:00Z*86400"
    environment(HORIZON="864000", MARKET_CLOCK=fast, SWEEP_GRACE="2")
    assert load_settings().horizon == 864_000
    environment(SIGNAL_TTL="10")
    with pytest.raises(InvalidSetting, match=r"^HORIZON on the wall = '10': must be below SIGNAL_TTL = 10"):
        load_settings()


@given(st.integers(1, 400), st.sampled_from("smhdw"), st.floats(0.001, 86_000), st.floats(0.001, 100_000))
def test_candle_is_remembered_for_longer_than_it_may_be_worked(
    count: int, unit: str, horizon: float, candle_ttl: float
) -> None:
    """A candle's record is kept for twice its timeframe and the horizon at least, however low CANDLE_TTL is set."""
    timeframe = Timeframe(count, unit)
    settings = Settings(_env_file=None, horizon=horizon, candle_ttl=candle_ttl)  # type: ignore[call-arg]
    kept_s = settings.candle_rules(timeframe).ttl_ms / 1000
    assert kept_s >= 2 * timeframe.seconds + horizon - 0.001
    assert kept_s >= candle_ttl - 0.001


@given(st.floats(0.003, 1e9))
def test_no_message_waits_as_long_as_the_broker_waits(visibility_timeout: float) -> None:
    """No countdown reaches VISIBILITY_TIMEOUT, after which the broker would deliver a waiting message once more."""
    settings = Settings(_env_file=None, visibility_timeout=visibility_timeout)  # type: ignore[call-arg]
    assert settings.longest_wait_s < visibility_timeout
    assert settings.signal_rules().max_retry_s == settings.longest_wait_s


def test_patience_fits_the_default_visibility_timeout(environment: Environment) -> None:
    """With the defaults no wait for a bar is cut short."""
    assert max(PATIENCE_S) * 1.2 < load_settings().longest_wait_s


def test_held_signal_is_kept_no_shorter_than_others(environment: Environment) -> None:
    """A signal that waits for a person is remembered for SIGNAL_TTL at least, however low HELD_TTL is set."""
    environment(HELD_TTL="60")
    rules = load_settings().signal_rules()
    assert rules.held_ttl_ms == rules.ttl_ms == 86_400_000
