"""One place decides who sees what, and nothing goes around it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bassloop.web import guard

ROOM = Path(guard.__file__).parent
ONLY_THE_GUARD = {"run", "runs", "checks", "thunk", "thunk_runs", "unfinished_runs"}


@pytest.mark.parametrize("path", sorted(ROOM.glob("*.py")), ids=lambda path: path.name)
def test_nobody_else_asks_the_store_for_runs_or_thunks(path: Path) -> None:
    asked = [
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ONLY_THE_GUARD
        and "store" in ast.unparse(node.func.value)
    ]
    assert (not asked) or path.name == "guard.py", asked
