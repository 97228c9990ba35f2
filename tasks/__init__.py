"""The Celery pipeline: thin tasks over `dedup`. `celery -A tasks …` finds the app here."""

from tasks.app import app as celery

__all__ = ["celery"]
