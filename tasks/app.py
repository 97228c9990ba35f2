"""The Celery app. `celery -A tasks worker|beat|flower|up|…` finds it as `tasks.celery`."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from tasks.settings import Settings

CONTROL, CANDLES, PUBLISH = "control", "candles", "publish"
QUEUES = (CONTROL, CANDLES, PUBLISH)

app = Celery("candlelatch", include=["tasks.candles", "tasks.publish", "tasks.sweep", "tasks.lifecycle"])


def celery_config(settings: Settings) -> dict[str, Any]:
    """Celery's settings for ours; `docs/design.md` gives the reason of each."""
    backend = settings.celery_result_backend
    return {
        "broker_url": settings.broker_url,
        "broker_transport_options": broker_options(settings),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "result_backend": backend.get_secret_value() if backend else None,
        "task_ignore_result": backend is None,
        "result_expires": 3600,
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        "task_default_queue": CONTROL,
        "task_routes": {"evaluate_candle": {"queue": CANDLES}, "publish_signal": {"queue": PUBLISH}},
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
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
    }


def broker_options(settings: Settings) -> dict[str, Any]:
    """Options of kombu's transport: Redis' own where the broker is Redis."""
    if not settings.broker_url.startswith(("redis", "rediss", "sentinel")):
        return {}
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
    }


def _defaults() -> dict[str, Any]:
    from tasks.runtime import pipeline
    from tasks.schedule import beat_schedule

    line = pipeline()
    settings = line.settings
    return celery_config(settings) | {
        "beat_schedule": beat_schedule(line.watchlist, line.clock, settings.sweep_interval),
        "task_annotations": {
            "evaluate_candle": _limits(settings.candle_time_limit),
            "publish_signal": _limits(settings.publish_time_limit),
        },
    }


def _limits(hard_s: float) -> dict[str, float]:
    return {"time_limit": hard_s, "soft_time_limit": hard_s * 0.9}


# Read when Celery first needs its configuration, so that importing this module reads nothing and connects to nothing.
app.add_defaults(_defaults)
