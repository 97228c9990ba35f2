"""What all peers have in common: the times. Each is handed to a peer wherever it has such a setting."""

from __future__ import annotations

LIMIT_S = 6.0
"""Celery's hard time limit."""

HTTP_S = 4.0
"""How long a POST may take."""

LEASE_S = 8
"""After how long a claim, lock or in-progress record of work under way may be taken over."""

VISIBILITY_S = 18
"""After how long the broker delivers again what was not acknowledged: three times the limit, beyond every lease."""

REMEMBER_S = 3600
"""For how long work that was done is remembered."""

QUEUE = "peers"
