"""The app of these tests: one function of work, registered under many rules, which leaves evidence in Redis."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

import redis
from celery import Celery

from dedup import RedisStore, connect
from dedup.celery import Once, OnceTask

PATIENCE_S = 60


class ShopTask(OnceTask[..., Any]):
    """A task that says what it did."""

    abstract = True
    key_prefix = "shop:"
    evidence: redis.Redis

    def saw(self, name: str, **more: Any) -> int:
        """Note a run and say which one it is."""
        claim = self.once_claim
        seen = {"id": self.request.id, "attempt": claim and claim.attempt, "in_doubt": claim and claim.in_doubt}
        return int(self.evidence.rpush(f"ran:{name}", json.dumps({**seen, "pid": os.getpid(), **more})))  # type: ignore[arg-type]


def work(self: ShopTask, name: str, then: str = "return") -> Any:
    """Note the run, and then do what is asked for."""
    return ACTIONS[then](self, name, self.saw(name))


def _return(self: ShopTask, name: str, run: int) -> Any:
    return {"name": name, "run": run, "by": self.request.id}


def _hold(self: ShopTask, name: str, run: int) -> Any:
    told: Any = self.evidence.blpop([f"go:{name}"], timeout=PATIENCE_S)
    return ACTIONS[told[1]](self, name, run)


def _hold_on(self: ShopTask, name: str, run: int) -> Any:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return _hold(self, name, run)


def _fail(self: ShopTask, name: str, run: int) -> Any:
    raise ValueError(f"{name} was told to fail")


def _break(self: ShopTask, name: str, run: int) -> Any:
    if run < 3:
        raise OSError("not yet")
    return _return(self, name, run)


def _retry(self: ShopTask, name: str, run: int) -> Any:
    if run < 3:
        raise self.retry(countdown=0)
    return _return(self, name, run)


def _die(self: ShopTask, name: str, run: int) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def _exit(self: ShopTask, name: str, run: int) -> Any:
    sys.exit(3)


def _nest(self: ShopTask, name: str, run: int) -> Any:
    return [self.request.id, self(name, then="id"), self.request.id]


def _id(self: ShopTask, name: str, run: int) -> Any:
    return self.request.id


def _replace(self: ShopTask, name: str, run: int) -> Any:
    return self.replace(self.app.signature("shop.plain", (f"{name}-instead",)))


ACTIONS: Mapping[str, Callable[[ShopTask, str, int], Any]] = {
    "return": _return,
    "hold": _hold,
    "hold_on": _hold_on,
    "fail": _fail,
    "break": _break,
    "retry": _retry,
    "die": _die,
    "exit": _exit,
    "nest": _nest,
    "id": _id,
    "replace": _replace,
}

QUICK = {"max_wait_s": 0.5}
RULES: Mapping[str, dict[str, Any]] = {
    "once": {"once": Once(key="{name}", **QUICK)},
    "skip": {"once": Once(key="{name}", on_duplicate="skip", on_busy="skip", **QUICK)},
    "raise": {"once": Once(key="{name}", on_duplicate="raise", on_busy="raise")},
    "mutex": {"once": Once(key="{name}", on_busy="skip", remember_s=0)},
    "leased": {"once": Once(key="{name}", lease_s=3, **QUICK)},
    "limited": {"once": Once(key="{name}", lease_s=60, **QUICK), "time_limit": 1},
    "stubborn": {"once": Once(key="{name}", lease_s=3, **QUICK), "time_limit": 1},
    "soft": {"once": Once(key="{name}"), "soft_time_limit": 0.5, "time_limit": 30},
    "auto": {"once": Once(key="{name}"), "autoretry_for": (OSError,), "default_retry_delay": 0},
    "deadly": {"once": Once(key="{name}", max_failures=1)},
    "pay": {"once": Once(key="{name}", effect=True, **QUICK)},
    "resume": {"once": Once(key="{name}", effect=True, resume=True, **QUICK)},
    "reckless": {"once": Once(key="{name}", on_outage="run")},
    "strict": {"once": Once(key="{name}", on_outage="raise")},
    "unkept": {"once": Once(key="{name}", max_result_bytes=0)},
    "early": {"once": Once(key="{name}", **QUICK), "acks_late": False},
}


def make_app(broker_url: str, store_url: str) -> Celery:
    """The app with its tasks ``shop.{rule}``, and ``shop.plain`` and ``shop.gather``, which claim nothing."""
    host = broker_url.rpartition("/")[0]
    app = Celery("shop", broker=f"{host}/0", backend=f"{host}/1", set_as_current=False)
    app.conf.update(
        broker_transport_options={
            "visibility_timeout": 3,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
        },
        worker_prefetch_multiplier=1,
        worker_lost_wait=0.2,
        broker_connection_retry_on_startup=True,
        task_default_queue="shop",
        beat_max_loop_interval=0.1,
    )
    evidence = redis.Redis.from_url(f"{host}/2", decode_responses=True, socket_timeout=None)
    base = type("Base", (ShopTask,), {"store": RedisStore(connect(store_url)), "evidence": evidence})
    for rule, options in RULES.items():
        app.task(bind=True, base=base, shared=False, name=f"shop.{rule}", **options)(work)

    def plain(value: Any) -> Any:
        evidence.rpush("plain", json.dumps(value))
        return value

    app.task(name="shop.plain", shared=False)(plain)
    app.task(name="shop.gather", shared=False)(plain)
    return app
