"""When a worker or a beat begins to be measured, and by what: nothing is measured where `METRICS_PORT` is not set."""

from __future__ import annotations

from typing import Any

from celery.signals import after_task_publish, beat_init, worker_init, worker_process_init, worker_ready

from dedup.errors import InvalidSetting
from tasks.refusal import refuse_to_start
from tasks.runtime import observe, pipeline


class _Process:
    """What this process serves; `tasks.metrics_server.MetricsServer`, which needs the extra ``metrics``."""

    server: Any = None


_here = _Process()


@worker_init.connect(weak=False)
@beat_init.connect(weak=False)
def _begin(**_: Any) -> None:
    """Before the pool forks: its children count from their first task on."""
    line = pipeline()
    if not line.settings.metrics_port or _here.server is not None:
        return
    try:
        from tasks.metrics_server import MetricsServer
    except ModuleNotFoundError:
        port, remedy = line.settings.metrics_port, "needs prometheus-client: pip install 'candlelatch[metrics]'"
        refuse_to_start(InvalidSetting("METRICS_PORT", str(port), remedy))
    _here.server = MetricsServer(line.settings, {str(watch.timeframe) for watch in line.watchlist})
    observe(_here.server.metrics)
    after_task_publish.connect(_sent, weak=False)


# A worker once its pool stands, so that no child begins with the server's thread in an unknown state.
@worker_ready.connect(weak=False)
@beat_init.connect(weak=False)
def _serve(**_: Any) -> None:
    if _here.server is not None:
        _here.server.serve()


@worker_process_init.connect(weak=False)
def _forked(**_: Any) -> None:
    if _here.server is not None:
        _here.server.leave_to_parent()


def _sent(sender: Any = None, **_: Any) -> None:
    pipeline().observer.sent(str(sender))
