"""The pipeline's app as a next version may be: its records have one field more. For tests only.

It changes the protocol of the process that imports it, so no test does: `celery -A tests.faults.newer worker`.
"""

from __future__ import annotations

import hashlib
from functools import cache

from dedup import lua
from dedup.ops import Claim
from dedup.stores import commands
from tasks.app import app
from tests.faults.versions import FIELD

__all__ = ["app"]

_ADDED = f"local function newer(rec) rec.{FIELD} = 'new' return rec end\n"


@cache
def script(name: str) -> lua.Script:
    """A script that writes the field with every record."""
    text = lua.script(name).text
    for record in ("rec", "done"):
        text = text.replace(f"cjson.encode({record})", f"cjson.encode(newer({record}))")
    text = _ADDED + text
    return lua.Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def opening(self: Claim) -> tuple[str, int]:
    """A claim that writes it too."""
    text, ttl_ms = _opening(self)
    return f'{text[:-1]},"{FIELD}":"new"}}', ttl_ms


_opening = Claim.opening
Claim.opening = opening
commands.script = script
