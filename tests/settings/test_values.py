"""Settings whose value cannot be: the error names the setting, shows the value and says what to write."""

from __future__ import annotations

import pickle
import traceback

import pytest

from dedup.errors import InvalidSetting
from tasks.settings import load_settings
from tests.settings.conftest import Environment

DURATIONS = (
    "HORIZON",
    "CANDLE_CHECK_WINDOW",
    "CANDLE_TTL",
    "CANDLE_TIME_LIMIT",
    "CANDLE_LEASE",
    "SIGNAL_TTL",
    "HELD_TTL",
    "SIGNAL_MAX_AGE",
    "HTTP_DEADLINE",
    "PUBLISH_TIME_LIMIT",
    "PUBLISH_LEASE",
    "SWEEP_INTERVAL",
    "SWEEP_GRACE",
    "VISIBILITY_TIMEOUT",
)

REFUSED = [
    ("ON_UNKNOWN", "guess", "must be 'hold', 'resend' or 'lookup'"),
    ("ON_UNKNOWN", "HOLD!", "must be 'hold', 'resend' or 'lookup'"),
    ("ON_UNKNOWN", "lookup", "needs SIGNAL_LOOKUP_URL"),
    ("REDIS_ENABLED", "maybe", "must be a valid boolean"),
    ("SIGNAL_FALLBACK", "disk", "must be 'memory' or 'refuse'"),
    ("MAX_FAILURES", "0", "must be greater than or equal to 1"),
    ("MAX_FAILURES", "2.5", "must be a valid integer"),
    ("MAX_FAILURES", "five", "must be a valid integer"),
    ("WATCH_FROM", "yesterday", "give a time with its zone, as in 2025-01-01T00:00:00Z"),
    ("WATCH_FROM", "2025-01-01T00:00:00", "give a time with its zone, as in 2025-01-01T00:00:00Z"),
    ("WATCH_UNTIL", "2025-13-01T00:00:00Z", "give a time with its zone, as in 2025-01-01T00:00:00Z"),
    ("WATCH_UNTIL", "2025-01-01T00:00:00", "give a time with its zone, as in 2025-01-01T00:00:00Z"),
    ("MARKET_CLOCK", "fast", "write real, or <market origin>@<wall origin>*<speed>"),
    ("MARKET_CLOCK", "2025-01-01T00:00:00@2025-01-01T00:00:00Z*2", "market_origin = '2025-01-01T00:00:00'"),
    ("MARKET_CLOCK", "2025-01-01T00:00:00Z@2025-01-01T00:00:00Z*-2", "give a finite number above zero"),
    ("MARKET_CLOCK", "2025-01-01T00:00:00Z@2025-01-01T00:00:00Z*nan", "give a finite number above zero"),
    ("KEY_PREFIX", "a*b", "use up to 64 letters, digits, _ . - or :"),
    ("KEY_PREFIX", "{slot}", "use up to 64 letters, digits, _ . - or :"),
    ("KEY_PREFIX", "two\nlines", "use up to 64 letters, digits, _ . - or :"),
    ("KEY_PREFIX", "x" * 65, "use up to 64 letters, digits, _ . - or :"),
    ("REDIS_URL", "localhost:6379", "as in redis://localhost:6379/0"),
    ("REDIS_URL", "http://localhost", "as in redis://localhost:6379/0"),
    ("REDIS_URL", "redis://", "as in redis://localhost:6379/0"),
    ("REDIS_URL", "redis://localhost:port/0", "as in redis://localhost:6379/0"),
    ("REDIS_URL", "redis://localhost:6379/first", "as in redis://localhost:6379/0"),
    ("REDIS_URL", "redis+cluster://localhost", "is no broker: write one of redis://"),
    ("REDIS_URL", "sentinel://localhost:26379", "name the service behind the Sentinels"),
    ("DEDUP_DURABILITY", "replicas:0", "write server, aof or replicas:N"),
    ("CELERY_BROKER_URL", "kafka://localhost", "is no broker: write one of redis://"),
    ("CELERY_BROKER_URL", "amqp://", "with a host"),
    *((name, "-5", "must be greater than or equal to 0.001") for name in DURATIONS),
    *((name, "0", "must be greater than or equal to 0.001") for name in DURATIONS),
    *((name, "soon", "must be a valid number") for name in DURATIONS),
    *((name, "inf", "must be a finite number") for name in DURATIONS),
    *((name, "nan", "must be a finite number") for name in DURATIONS),
    *((name, "1e11", "must be less than or equal to 10000000000") for name in DURATIONS),
]

SECRET = "hunter2-hunter2"
REFUSED_SECRETS = [
    ("REDIS_URL", f"redis://:{SECRET}@localhost:port/0", "redis://:***@localhost:port/0"),
    ("REDIS_URL", f"rediss://user:{SECRET}@", "rediss://user:***@"),
    ("REDIS_URL", f"http://localhost/?password={SECRET}", "http://localhost/?password=***"),
    ("CELERY_BROKER_URL", f"kafka://user:{SECRET}@localhost", "kafka://user:***@localhost"),
]


@pytest.mark.parametrize(("name", "value", "remedy"), REFUSED)
def test_value_that_cannot_be_is_refused(environment: Environment, name: str, value: str, remedy: str) -> None:
    """A malformed setting is an InvalidSetting with its name as in the environment, its value and the remedy."""
    environment(**{name: value})
    with pytest.raises(InvalidSetting) as refused:
        load_settings()
    error = refused.value
    assert (error.what, error.value) == (name, value)
    assert remedy in error.remedy
    assert str(error) == f"{name} = {value!r}: {error.remedy}"


@pytest.mark.parametrize(("name", "value", "shown"), REFUSED_SECRETS)
def test_refused_address_hides_its_password(environment: Environment, name: str, value: str, shown: str) -> None:
    """A refused address is shown without its password: in the message, in the traceback and in the pickled error."""
    environment(**{name: value})
    with pytest.raises(InvalidSetting) as refused:
        load_settings()
    assert (refused.value.what, refused.value.value) == (name, shown)
    told = "".join(traceback.format_exception(refused.value))
    assert SECRET not in told
    assert SECRET.encode() not in pickle.dumps(refused.value)


@pytest.mark.parametrize("name", ["REDIS_URL", "CELERY_BROKER_URL", "SIGNAL_API_SECRET", "SIGNAL_API_URL"])
def test_override_of_the_wrong_type_hides_what_may_be_a_secret(environment: Environment, name: str) -> None:
    """An override of the wrong type for a setting that may hold a secret is refused without being shown."""
    with pytest.raises(InvalidSetting, match=rf"^{name} = '\(hidden\)': must be a valid string") as refused:
        load_settings(**{name.lower(): [SECRET]})
    assert SECRET not in "".join(traceback.format_exception(refused.value))
