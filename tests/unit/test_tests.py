"""The tests themselves: they read as a specification."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.unit.imports import Source, sources

TESTS = [source for source in sources("tests") if source.name.rpartition(".")[2].startswith("test_")]


def _tests(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test"):
            yield node


@pytest.mark.parametrize("source", TESTS, ids=lambda source: source.name)
def test_every_test_says_what_holds(source: Source) -> None:
    """Every test has a docstring that is a sentence."""
    mute = [test.name for test in _tests(source) if not (ast.get_docstring(test) or "").strip().endswith((".", "?"))]
    assert mute == []


def test_no_two_tests_of_a_module_share_a_name() -> None:
    """No test hides another one of the same name."""
    for source in TESTS:
        names = [test.name for test in source.tree.body if isinstance(test, (ast.FunctionDef, ast.AsyncFunctionDef))]
        assert len(names) == len(set(names)), source.name
