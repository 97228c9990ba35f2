"""The Lua scripts, one file per operation, and their digests for ``EVALSHA``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its text, and the SHA-1 that Redis knows it by."""

    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """Read ``{name}.lua``."""
    text = (files(__name__) / f"{name}.lua").read_text(encoding="utf-8")
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
