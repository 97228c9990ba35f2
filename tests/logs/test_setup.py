"""Celery chooses level and file of a log, we its format."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.outcomes import parse_outcome
from tasks.settings import inherited_environment

ROOT = Path(__file__).parents[2]

# What `celery -A tasks worker -l LEVEL -f FILE` does before anything else.
LOGGING = """
import logging, sys
from tasks import endings, lifecycle
from tasks.app import app
level, file = sys.argv[1:]
app.log.setup(loglevel=level, logfile=file or None)
endings.log.info("outcome", task="publish_signal", outcome="posted")
endings.log.error("outcome", task="publish_signal", outcome="held")
logging.getLogger("celery.worker").warning("of Celery")
"""


def lines(home: Path, form: str, level: str, to_file: bool) -> list[str]:
    """What is logged at a level, to a file or to standard error."""
    settings = {"WATCHLIST": str(ROOT / "tasks" / "demo.toml"), "SIGNAL_API_URL": "http://127.0.0.1:9/"}
    env = inherited_environment() | settings | {"LOG_FORMAT": form, "PYTHONPATH": str(ROOT)}
    file = home / "worker.log"
    argv = [sys.executable, "-c", LOGGING, level, str(file) if to_file else ""]
    done = subprocess.run(argv, env=env, cwd=home, capture_output=True, text=True, check=True)
    return (file.read_text() if to_file else done.stderr).splitlines()


@pytest.mark.parametrize(("form", "to_file"), [("json", True), ("console", False)])
def test_level_and_file_are_celerys(tmp_path: Path, form: str, to_file: bool) -> None:
    """At WARNING a success is not told; what should be looked at is, and so is a warning of Celery's, all in the chosen
    format, wherever Celery was told to write.
    """
    shown = lines(tmp_path, form, "WARNING", to_file)
    assert [one["outcome"] for line in shown if (one := parse_outcome(line))] == ["held"]
    assert len(shown) == 2
    if form == "json":
        assert json.loads(shown[1])["event"] == "of Celery"
    else:
        assert shown[1].endswith(" celery.worker: of Celery")


def test_success_is_told_at_info(tmp_path: Path) -> None:
    """At INFO every outcome is told."""
    shown = lines(tmp_path, "json", "INFO", to_file=False)
    assert [one["outcome"] for line in shown if (one := parse_outcome(line))] == ["posted", "held"]
