"""The Celery app. `celery -A tasks worker|beat|flower|up|…` finds it as `tasks.celery`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from celery import Celery
from celery.app import backends
from kombu import Exchange, Queue

from dedup.errors import InvalidInput, InvalidSetting
from dedup.stores.connect import redact
from tasks import rabbitmq
from tasks.broker import backend_url
from tasks.refusal import as_seen_by_caller
from tasks.settings import Settings, export_variable

CONTROL, CANDLES, PUBLISH = "control", "candles", "publish"
QUEUES = (CONTROL, CANDLES, PUBLISH)

# Not the current app of whoever imports this: Celery would then read its configuration on behalf of others' tasks.
app = Celery(
    "candlelatch",
    include=["tasks.candles", "tasks.publish", "tasks.sweep", "tasks.measuring", "tasks.lifecycle", "tasks.endings"],
    amqp="tasks.transport:AMQP",
    set_as_current=False,
)


def celery_config(settings: Settings) -> dict[str, Any]:
    """Celery's settings for ours; `docs/design.md` gives the reason of each."""
    backend = settings.celery_result_backend
    return {
        "broker_url": settings.broker.url,
        # Celery itself reads CELERY_BROKER_URL before `broker_url`, and does not know our forms of it.
        "broker_read_url": settings.broker.url,
        "broker_write_url": settings.broker.url,
        "broker_use_ssl": settings.broker.tls or False,
        "broker_transport_options": broker_options(settings),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "result_backend": backend_url(backend.get_secret_value()) if backend else None,
        "task_ignore_result": backend is None,
        "result_expires": 3600,
        "task_queues": task_queues(settings),
        "task_default_queue": CONTROL,
        "task_routes": {"evaluate_candle": {"queue": CANDLES}, "publish_signal": {"queue": PUBLISH}},
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "event_serializer": "json",
        # What is anything else is refused unread, and what Celery or kombu would die of is too.
        "worker_consumer": "tasks.consumer:Consumer",
        "task_acks_late": True,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": False,
        "task_reject_on_worker_lost": True,
        "task_retry_on_worker_lost": True,
        "task_send_sent_event": True,
        "task_track_started": True,
        "worker_send_task_events": True,
        "worker_prefetch_multiplier": 1,
        "worker_soft_shutdown_timeout": settings.publish_time_limit,
        "worker_enable_soft_shutdown_on_idle": True,
        # A cancelled publish is a doubt; a redelivered one costs a claim that says duplicate or busy.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "enable_utc": True,
        "timezone": "UTC",
        "beat_scheduler": "celery.beat:Scheduler",
        "beat_max_loop_interval": 1.0,
        **({} if settings.broker.is_redis else rabbitmq.CONFIG),
    }


def task_queues(settings: Settings) -> list[Queue]:
    """The queues, as the broker has them."""
    queue, exchange = ({}, {}) if settings.broker.is_redis else (rabbitmq.QUEUE, rabbitmq.EXCHANGE)
    return [Queue(name, Exchange(name, **exchange), routing_key=name, **queue) for name in QUEUES]


def broker_options(settings: Settings) -> dict[str, Any]:
    """Options of kombu's transport for Redis, or for RabbitMQ."""
    broker = settings.broker
    if not broker.is_redis:
        return dict(rabbitmq.TRANSPORT)
    return {
        "visibility_timeout": settings.visibility_timeout,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 30,
        "socket_timeout": 5.0,
        "socket_connect_timeout": 5.0,
        "health_check_interval": 5,
        "max_connections": 40,
        "global_keyprefix": settings.key_prefix,
        **broker.options,
    }


class _Configuration(Mapping[str, Any]):
    """Celery's configuration, made when Celery first asks for it.

    What cannot be made is refused again at every use, so that no process goes on with Celery's defaults, which would
    send to another broker.
    """

    @cached_property
    def _made(self) -> dict[str, Any]:
        try:
            return _configuration()
        except InvalidInput as error:
            raise as_seen_by_caller(error) from None

    def __getitem__(self, name: str) -> Any:
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def _configuration() -> dict[str, Any]:
    from tasks.runtime import pipeline
    from tasks.schedule import beat_schedule

    line = pipeline()
    settings = line.settings
    _check_backend(settings)
    config = celery_config(settings)
    _outdo_environment(settings, config)
    return config | {
        "beat_schedule": beat_schedule(line.watchlist, line.clock, settings.sweep_interval),
        "task_annotations": {
            "evaluate_candle": _limits(settings.candle_time_limit),
            "publish_signal": _limits(settings.publish_time_limit),
        },
    }


def _outdo_environment(settings: Settings, config: dict[str, Any]) -> None:
    """Celery reads this variable before its configuration, and would take it as it stands: `backend_url` adds to it."""
    given = settings.celery_result_backend
    if given is not None and given.get_secret_value() != config["result_backend"]:
        export_variable("CELERY_RESULT_BACKEND", config["result_backend"])


def _check_backend(settings: Settings) -> None:
    given = settings.celery_result_backend
    url = given.get_secret_value() if given else ""
    try:
        backends.by_url(url, app.loader)
    except Exception:
        remedy = "is no result backend of Celery; leave it out, or write one such as redis://localhost:6379/1"
        raise InvalidSetting("CELERY_RESULT_BACKEND", redact(url), remedy) from None


def _limits(hard_s: float) -> dict[str, float]:
    return {"time_limit": hard_s, "soft_time_limit": hard_s * 0.9}


# Nothing is read and nothing connects when this module is imported.
app.config_from_object(_Configuration())
