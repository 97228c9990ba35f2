"""The pipeline's app without the check of its settings: `celery -A tests.faults.unchecked worker`. For tests only."""

from __future__ import annotations

import tasks.settings
from tasks.app import app

tasks.settings.check_settings = lambda settings: None

__all__ = ["app"]
