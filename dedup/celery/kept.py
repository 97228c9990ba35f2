"""What is kept with work that is done: whose it was, and its result, for those who deliver it again."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

from kombu.utils import json as kombu_json

from dedup.records import Record

log = logging.getLogger("dedup.celery")


@dataclass(frozen=True, slots=True)
class Kept:
    """What a record that is DONE keeps.

    Attributes:
        task_id: of the delivery that did the work; empty where it is not known.
        has_result: whether the result was kept.
        result: as a JSON result backend would give it.
    """

    task_id: str = ""
    has_result: bool = False
    result: Any = None


def pack(key: str, task_id: str, result: object, max_bytes: int) -> str:
    """What to keep, as JSON. A result that is too large, or no JSON, is left out."""
    without = json.dumps({"id": task_id})
    if not max_bytes:
        return without
    try:
        # Celery's own JSON, so that a duplicate ends with what the result backend has for the first one.
        text = str(kombu_json.dumps({"id": task_id, "r": result}, allow_nan=False, separators=(",", ":")))
    except (TypeError, ValueError, RecursionError) as error:
        log.info("%s: its result is not kept for duplicates: %s", key, error)
        return without
    if len(text) - len(without) > max_bytes:
        log.info("%s: its result is not kept for duplicates: over max_result_bytes = %d", key, max_bytes)
        return without
    return text


def unpack(record: Record) -> Kept:
    """What a record keeps; nothing where others wrote it."""
    value = record.value
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        return Kept()
    if "r" not in value:
        return Kept(value["id"])
    return Kept(value["id"], True, kombu_json.loads(json.dumps(value["r"])))
