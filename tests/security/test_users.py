"""The maker of the ACL file."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.engines import Engine
from tests.security.roles import MAKE_USERS, PASSWORDS, users
from tests.topology.conftest import server_binary


def made(**env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MAKE_USERS], env={"PATH": os.environ["PATH"], **env}, capture_output=True, text=True, check=False
    )


def test_template_lets_nobody_in(tmp_path: Path) -> None:
    """The template as it stands has no password: a server does not start with it."""
    path = tmp_path / "users.acl"
    path.write_text(MAKE_USERS.with_name("users.acl.template").read_text())
    with pytest.raises(RuntimeError, match="did not come up"):
        Engine(server_binary("redis7"), {"aclfile": str(path)}).start(timeout_s=1.5)


def test_passwords_that_are_missing_are_made_up() -> None:
    """Without passwords each user gets one of its own, anew each time; they are told once and are not in the file."""
    one, other = made(), made()
    told = dict(line.split("=", 1) for line in one.stderr.splitlines())
    assert set(told) == {f"{role.upper()}_PASSWORD" for role in PASSWORDS}
    assert len(set(told.values())) == len(PASSWORDS)
    assert all(re.fullmatch("[0-9a-f]{48}", password) for password in told.values())
    assert not any(password in one.stdout for password in told.values())
    assert one.stdout != other.stdout
    assert "@" not in re.sub(r"[+-]@all", "", one.stdout)


def test_file_holds_no_password() -> None:
    """The file holds digests, which open nothing."""
    text = users()
    assert not any(password in text for password in PASSWORDS.values())
    assert ">" not in text
    assert "nopass" not in text
    assert text.splitlines()[0] == "user default off"


def test_durability_aof_needs_one_command_more() -> None:
    """`WAITAOF`, which older servers do not know, is in the file only where DEDUP_DURABILITY asks for it."""
    assert "waitaof" not in users()
    assert users(DEDUP_DURABILITY="aof").count("+waitaof") == 3


@pytest.mark.parametrize(("name", "value"), [("KEY_PREFIX", "a b"), ("KEY_PREFIX", "x/e"), ("REDIS_DB", "one")])
def test_what_would_forge_a_rule_is_refused(name: str, value: str) -> None:
    """A prefix or a database that would write other rules is refused."""
    found = made(**{name: value})
    assert (found.returncode, found.stdout) == (78, "")
    assert name in found.stderr
