"""Servers whose users are those of `deploy/redis`, one for each role."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis

from tests.engines import HOST, Engine

MAKE_USERS = Path(__file__).parents[2] / "deploy" / "redis" / "make-users"
ROLES = ("worker", "beat", "flower", "operator", "metrics")
PASSWORDS = {role: f"{role}-pa55word" for role in (*ROLES, "admin")}


def users(**settings: str) -> str:
    """The ACL file, with passwords that the tests know."""
    given = {f"{role.upper()}_PASSWORD": password for role, password in PASSWORDS.items()}
    made = subprocess.run(
        [MAKE_USERS], env={"PATH": os.environ["PATH"], **given, **settings}, check=True, capture_output=True, text=True
    )
    assert made.stderr == ""
    return made.stdout


class Guarded(Engine):
    """An engine on which nobody is who they were: each role has its user, and the default user is off."""

    def __init__(self, binary: str, home: Path, config: Mapping[str, str] | None = None, **settings: str) -> None:
        path = home / "users.acl"
        path.write_text(users(**settings))
        path.chmod(0o600)
        super().__init__(binary, {**(config or {}), "aclfile": str(path)})

    @property
    def url(self) -> str:
        """The address for the user `admin`."""
        return self.url_of("admin")

    def url_of(self, role: str, database: int = 0) -> str:
        """The address for a role."""
        return f"redis://{role}:{PASSWORDS[role]}@{HOST}:{self.port}/{database}"

    def role(self, role: str, **options: Any) -> redis.Redis:
        """A client of a role, which the caller closes."""
        client: redis.Redis = redis.Redis.from_url(self.url_of(role), **options)
        return client

    def denied(self) -> list[str]:
        """What was denied since `forgive`: who wanted what."""
        with self.client() as client:
            entries = client.acl_log()
        return [f"{one['username']}: {one['reason']} {one['object']} ({one['context']})" for one in entries]

    def forgive(self) -> None:
        """Forget what was denied."""
        with self.client() as client:
            client.acl_log_reset()
