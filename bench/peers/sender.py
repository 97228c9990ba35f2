"""A beat's part: sends every job once. `python -m bench.peers.sender MODULE GO CLOSED_AT JOB…`

It calls `apply_async` of the task, as Celery's beat does, and as beat it logs what cannot be sent and goes on. When it
has loaded everything it says `ready`, and it sends when the file GO is there: so several send at the same moment.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path

READY = "ready\n"


def main(module: str, go: str, closed_at: str, *jobs: str) -> None:
    """Load the app, wait for the word, send."""
    work, harness = importlib.import_module(module).work, os.getppid()
    print(READY, end="", flush=True)
    while not Path(go).exists():
        if os.getppid() != harness:
            return
        time.sleep(0.01)
    for job in jobs:
        try:
            work.apply_async((job, closed_at))
        except Exception as error:
            print(f"not sent: {job}: {type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
