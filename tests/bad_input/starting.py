"""Starting `celery -A tasks …` as someone at a terminal does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CELERY = (sys.executable, "-m", "celery", "-A", "tasks")
WORKER = ("worker", "-P", "solo", "-l", "info", "--without-mingle", "--without-gossip")
BEAT = ("beat", "-l", "info")

WATCHLIST = """
[sources.recorded]
kind = "replay"

[[watch]]
instruments = ["AAPL"]
timeframe = "1d"
source = "recorded"
strategy = "ema_cross"
"""


def environment(home: Path, **settings: str) -> dict[str, str]:
    """A whole environment: settings that are fine, with `settings` over them."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV")
    own = {name: os.environ[name] for name in kept if name in os.environ}
    watchlist = home / "pipeline.toml"
    watchlist.write_text(WATCHLIST)
    fine = {
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "SIGNAL_API_URL": "http://127.0.0.1:1/signals",
        "WATCHLIST": str(watchlist),
        "PYTHONPATH": str(ROOT),
    }
    return own | fine | settings


def run(home: Path, *argv: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command until it ends, in `home`. One that does not end within half a minute is killed, and raises."""
    env = environment(home, **settings)
    return subprocess.run(argv, env=env, cwd=home, capture_output=True, text=True, timeout=30, check=False)


def celery(home: Path, *argv: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `celery -A tasks …` until it ends."""
    return run(home, *CELERY, *argv, **settings)
