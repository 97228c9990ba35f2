"""Where settings come from: the environment, `.env`, defaults. And that reading them does nothing else."""

from __future__ import annotations

import pickle
import socket
from pathlib import Path

import pytest

from dedup.errors import InvalidSetting
from dedup.timeframe import Timeframe
from tasks.runtime import make_pipeline
from tasks.settings import load_settings
from tests.settings.conftest import Environment

SECRET = "whsec_" + "c2VjcmV0" * 4
PASSWORD = "hunter2-hunter2"


def test_dot_env_is_read(environment: Environment) -> None:
    """A file `.env` in the working directory is read; the environment goes before it, and unknown names are ignored."""
    Path(".env").write_text("HORIZON=7200\nSWEEP_GRACE=5\nSOMETHING_ELSE=x\n# HELD_TTL=1\n")
    environment(SWEEP_GRACE="6")
    settings = load_settings()
    assert (settings.horizon, settings.sweep_grace, settings.held_ttl) == (7200, 6, 2_592_000)


def test_mistake_in_dot_env_is_told_as_one_in_the_environment(environment: Environment) -> None:
    """A malformed value in `.env` is refused by the name of its setting."""
    Path(".env").write_text("HORIZON=soon\n")
    with pytest.raises(InvalidSetting, match=r"^HORIZON = 'soon': must be a valid number"):
        load_settings()


def test_dot_env_that_is_no_text_is_refused(environment: Environment) -> None:
    """A `.env` in another encoding than UTF-8 is refused, and what is in it is not shown."""
    Path(".env").write_bytes(b"SIGNAL_API_SECRET=caf\xe9\n")
    with pytest.raises(InvalidSetting, match=r"^\.env = '\(hidden\)': is not UTF-8; save it as UTF-8"):
        load_settings()


def test_empty_counts_as_not_set(environment: Environment) -> None:
    """An empty variable, which is what Compose hands on for one that nobody set, leaves the default."""
    names = ("HORIZON", "ON_UNKNOWN", "REDIS_ENABLED", "WATCH_FROM", "SIGNAL_MAX_AGE", "CELERY_BROKER_URL", "REDIS_URL")
    environment(**dict.fromkeys(names, ""))
    settings = load_settings()
    assert (settings.horizon, settings.on_unknown, settings.redis_enabled) == (3600, "hold", True)
    assert (settings.watch_from, settings.signal_max_age) == (None, None)
    assert settings.broker_url == "redis://localhost:6379/0"


def test_broker_is_redis_unless_it_is_named(environment: Environment) -> None:
    """CELERY_BROKER_URL stands for the broker where it is set; REDIS_URL need not be one then."""
    environment(REDIS_URL="unix:///run/redis.sock", CELERY_BROKER_URL="amqp://localhost")
    assert load_settings().broker_url == "amqp://localhost"


@pytest.mark.parametrize(("timeframe", "expected_s"), [("1m", 20), ("15m", 300), ("4h", 300)])
def test_signal_is_fresh_for_a_third_of_its_timeframe(
    environment: Environment, timeframe: str, expected_s: float
) -> None:
    """Without SIGNAL_MAX_AGE a signal may be posted for a third of its timeframe after the close, 300 s at most."""
    assert load_settings().max_age_s(Timeframe.parse(timeframe)) == expected_s
    environment(SIGNAL_MAX_AGE="7")
    assert load_settings().max_age_s(Timeframe.parse(timeframe)) == 7


def test_nothing_connects_before_it_is_used(environment: Environment, watchlist: Path) -> None:
    """Reading settings and putting a pipeline together connects neither to Redis, nor to the broker, nor to the API."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        address = f"redis://127.0.0.1:{port}/0"
        environment(REDIS_URL=address, SIGNAL_API_URL=f"http://127.0.0.1:{port}/", WATCHLIST=str(watchlist))
        line = make_pipeline(load_settings())
        with pytest.raises(BlockingIOError):
            server.accept()
        line.store.close()


def test_secrets_are_in_no_repr(environment: Environment, watchlist: Path) -> None:
    """Neither settings nor a pipeline show a password or a signing secret when they are printed."""
    environment(
        REDIS_URL=f"redis://:{PASSWORD}@localhost/0",
        CELERY_BROKER_URL=f"amqp://user:{PASSWORD}@localhost",
        CELERY_RESULT_BACKEND=f"redis://:{PASSWORD}@localhost/1",
        SIGNAL_API_URL=f"https://user:{PASSWORD}@api.example/signals?token={PASSWORD}",
        SIGNAL_LOOKUP_URL=f"https://user:{PASSWORD}@api.example/signals/{{id}}",
        SIGNAL_API_SECRET=SECRET,
        WATCHLIST=str(watchlist),
    )
    settings = load_settings()
    line = make_pipeline(settings)
    printed = f"{settings!r} {settings} {line!r} {line.publisher!r}"
    line.store.close()
    assert "SecretStr('**********')" in printed
    assert PASSWORD not in printed
    assert SECRET not in printed
    assert SECRET.removeprefix("whsec_") not in printed


def test_settings_are_not_pickled(environment: Environment) -> None:
    """Pickling settings is refused: what holds secrets must not travel through a broker or a result backend."""
    environment(SIGNAL_API_SECRET=SECRET)
    with pytest.raises(TypeError, match="settings hold secrets"):
        pickle.dumps(load_settings())


@pytest.mark.parametrize(
    ("name", "value", "shown", "remedy"),
    [
        ("SIGNAL_API_URL", "", "", "write an http or https address, as in https://host/signals"),
        ("SIGNAL_API_URL", "api.example/signals", "(no scheme, 19 characters)", "write an http or https address"),
        ("SIGNAL_API_URL", "ftp://api.example/signals", "ftp://api.example/…", "write an http or https address"),
        ("SIGNAL_API_URL", "https://", "https://", "write an http or https address"),
        ("SIGNAL_LOOKUP_URL", "api.example/signals", "(no scheme, 19 characters)", "write an http or https address"),
        ("SIGNAL_API_SECRET", "whsec_c2hvcnQ=", "(hidden)", "a secret holds 24 to 64 bytes, this one 5; make one with"),
        ("SIGNAL_API_SECRET", PASSWORD, "(hidden)", "a secret begins with whsec_; make one with"),
    ],
)
def test_bad_address_or_secret_is_refused_before_the_first_signal(
    environment: Environment, watchlist: Path, name: str, value: str, shown: str, remedy: str
) -> None:
    """An address without scheme or host, or a secret too short, is refused when the pipeline is put together."""
    environment(**{"SIGNAL_API_URL": "https://api.example/signals", "WATCHLIST": str(watchlist), name: value})
    with pytest.raises(InvalidSetting) as refused:
        make_pipeline(load_settings())
    assert (refused.value.what, refused.value.value) == (name, shown)
    assert remedy in refused.value.remedy
    assert PASSWORD not in str(refused.value)
