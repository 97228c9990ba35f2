"""The folder in which the processes of one worker share their counts (prometheus-client's multiprocess mode).

Each worker makes one of its own for as long as it lives, so that no counts of an earlier start are in it. What a killed
worker left behind is removed by the next: a lock that dies with its processes tells.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

PREFIX = "candlelatch-metrics-"
LOCK = "in-use"


class MetricsFolder:
    """A folder that is removed when its worker ends, or by the next worker.

    Args:
        parent: where it is made; by default the system's temporary folder.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        remove_stale(parent)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._owner = os.getpid()
        # Held by this process and its children, however they end.
        self._lock = (self.path / LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Remove it; nothing in a child, whose parent still needs it."""
        if os.getpid() == self._owner:
            self._lock.close()
            shutil.rmtree(self.path, ignore_errors=True)


def remove_stale(parent: Path) -> None:
    """Remove the folders that no living worker uses."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            with (folder / LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            # In use, another user's, or just being made.
            continue


class LivingCollector(Collector):
    """What all processes of the worker counted, the ended ones too; states only of those that live."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Any]:
        """All metrics of the folder."""
        # No signal of Celery's tells the parent of a child that was killed, so those that live are counted here.
        for file in self._folder.glob("gauge_live*_*.db"):
            pid = int(file.stem.rpartition("_")[2])
            if not _lives(pid):
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        found: Iterable[Any] = self._files.collect()  # type: ignore[no-untyped-call]
        return found


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
