"""Metrics of this process and its children over HTTP (`METRICS_PORT`): set up, served, left to the parent in a child.

A worker's children count in files (`tasks.metrics_files`), and its main process serves the sum of them. A beat is
served alike.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Collection
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server, values

from tasks.metrics import PipelineMetrics
from tasks.metrics_files import LivingCollector, MetricsFolder
from tasks.settings import Settings, export_variable
from tasks.store_facts import StoreCollector, ask

log = logging.getLogger("candlelatch.metrics")


class MetricsServer:
    """The metrics of one worker or beat.

    Args:
        settings: with the port.
        timeframes: of the watchlist.
    """

    def __init__(self, settings: Settings, timeframes: Collection[str]) -> None:
        self._settings = settings
        self._folder = MetricsFolder()
        atexit.register(self._folder.close)
        # By the environment, and before the first metric is made: prometheus-client asks for it no other way. Flower's
        # command, if it is installed, has imported prometheus-client before us.
        export_variable("PROMETHEUS_MULTIPROC_DIR", str(self._folder.path))
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
        self.metrics = PipelineMetrics(CollectorRegistry(), timeframes)
        self._server: Any = None
        self._owner = os.getpid()

    def serve(self) -> None:
        """Begin to answer. A port that is taken is told, and no reason to evaluate nothing."""
        if self._server is not None:
            return
        host, port = self._settings.metrics_host, self._settings.metrics_port
        registry = CollectorRegistry()
        registry.register(LivingCollector(self._folder.path))
        registry.register(StoreCollector(lambda: ask(self._settings), self._settings.dedup_durability))
        ProcessCollector(registry=registry)
        try:
            self._server, _ = start_http_server(port, host, registry)
        except OSError as error:
            remedy = "give each worker and beat of this machine a METRICS_PORT of its own"
            log.error("no metrics at %s:%d: %s; %s", host, port, error.strerror, remedy)  # noqa: TRY400 it says it all
        else:
            log.info("metrics at http://%s:%d/metrics", host, port)

    def leave_to_parent(self) -> None:
        """In a child: give up the port, which would otherwise stay taken while a child outlives the parent."""
        if self._server is not None and os.getpid() != self._owner:
            self._server.socket.close()
            self._server = None
