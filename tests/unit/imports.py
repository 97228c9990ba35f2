"""What a source file imports and whether it reads the environment, found without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
READS_ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}


@dataclass(frozen=True)
class Source:
    """One module: its dotted name, whether it is a package, and its tree."""

    name: str
    is_package: bool
    tree: ast.Module

    @classmethod
    def of(cls, path: Path) -> Source:
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        return cls(".".join(parts[:-1] if is_package else parts), is_package, ast.parse(path.read_text("utf-8")))

    @classmethod
    def written(cls, name: str, text: str) -> Source:
        return cls(name, False, ast.parse(text))

    def imported(self) -> Iterator[str]:
        """Every module it may import, anywhere in it; `from x import y` counts as x and as x.y."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.name.split(".")
        above = package[: len(package) - node.level + self.is_package]
        return ".".join([*above, *([node.module] if node.module else [])])

    def reads_environment(self) -> bool:
        """Whether it names what holds the process's environment, or how to get at it."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute) and node.attr in READS_ENVIRONMENT:
                return True
            if isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} & READS_ENVIRONMENT:
                return True
        return False


def sources(*folders: str) -> list[Source]:
    """Every module under these folders."""
    return [Source.of(path) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
