"""One module decides who sees what, and nothing bypasses it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bassloop.web import guard

ROOM = Path(guard.__file__).parent
ONLY_THE_GUARD = {"runs", "thunks"}


@pytest.mark.parametrize("path", sorted(ROOM.rglob("*.py")), ids=lambda path: path.name)
def test_only_the_guard_asks_the_store_for_runs_or_thunks(path: Path) -> None:
    asked = [
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ONLY_THE_GUARD
        and "store" in ast.unparse(node.value)
    ]
    assert (not asked) or path.name == "guard.py", asked
