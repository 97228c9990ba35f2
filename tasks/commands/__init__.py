"""Subcommands of `celery -A tasks` (entry-point group ``celery.commands``), a module each.

Every `celery` process imports them, workers too: what a command needs beyond click it imports when it runs.
"""
