"""The documents name files and tests that exist."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def documents() -> list[str]:
    """Every Markdown file that git knows of, by its path."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    return listed.stdout.split() or [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("docs/*.md"))]


def links(document: str) -> list[tuple[str, str]]:
    """Words and targets of the links to files of this repository."""
    text = FENCE.sub("", (ROOT / document).read_text())
    return [(words, target) for words, target in LINK.findall(text) if "://" not in target and target[0] != "#"]


@cache
def named_in(path: Path) -> frozenset[str]:
    """Names of the tests in a file, or in the files of a folder."""
    files = path.rglob("test_*.py") if path.is_dir() else [path]
    trees = [ast.parse(file.read_text()) for file in files]
    defined = (node for tree in trees for node in ast.walk(tree))
    return frozenset(
        node.name
        for node in defined
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


@pytest.mark.parametrize("document", documents())
def test_links_lead_somewhere(document: str) -> None:
    """Every link of a document to a file of this repository leads to one."""
    targets = [target.partition("#")[0] for _, target in links(document)]
    assert [target for target in targets if not ((ROOT / document).parent / target).exists()] == []


@pytest.mark.parametrize("document", documents())
def test_named_tests_exist(document: str) -> None:
    """A link whose words are the name of a test leads to the file, or the folder, that has it."""
    named = [(words.strip("`"), target) for words, target in links(document) if words.startswith("`test_")]
    missing = [name for name, target in named if name not in named_in((ROOT / document).parent / target)]
    assert missing == []


def test_every_guarantee_names_its_test() -> None:
    """Each row of the promises in docs/guarantees.md ends with the tests that show it."""
    rows = [line for line in (ROOT / "docs/guarantees.md").read_text().splitlines() if re.match(r"\| [A-Z]\d", line)]
    assert len(rows) > 20
    assert [row for row in rows if "](../tests/" not in row.rpartition(" | ")[2]] == []
