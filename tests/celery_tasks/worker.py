"""What worker and beat processes of these tests load: `celery -A tests.celery_tasks.worker`."""

from __future__ import annotations

import json
import os

from tests.celery_tasks.shop import make_app

app = make_app(os.environ["SHOP_BROKER"], os.environ["SHOP_STORE"])
app.conf.beat_schedule = json.loads(os.environ.get("SHOP_SCHEDULE", "{}"))
