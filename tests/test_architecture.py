"""The shape of the source tree: no circular imports, no private names across rooms, one name for one thing.

Of structured concurrency: a shield has a deadline, and asyncio no tasks of its own.

Which room may import which is a contract of import-linter's, in `pyproject.toml`; what that can't say is checked here,
on the syntax trees. Imports for type checkers count like any other: whoever reads a file follows them, too.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).parents[1] / "src"
GENERATED = ("_pb2.py", "_grpc.py")
MAX_LINES = 500

CIRCULAR: dict[str, int] = {}
"""Files that take part in circular imports, by room: none."""

LATE_IMPORTS: dict[str, int] = {}
"""Imports inside functions, by room: none. The rules are in `LAZY`."""

LAZY = {
    "bassloop.bass": "the language runs without Trio, which its `open_session` needs",
    "bassloop.cli.*": "a command imports what it needs when it is called, so that `bassloop --help` is quick",
    "bassloop.daemon.wiring": "OpenTelemetry is an optional extra",
    "bassloop.store.engines": "the driver for PostgreSQL is an optional extra",
    "bassloop.store.blobs": "obstore is an optional extra",
    "bassloop.tools.trial_guard": "the package that brings PostgreSQL is an optional extra",
}
"""Modules that may have imports inside functions, and why."""

CONVENTIONAL = {"errors", "schema"}
"""Module names that each room may have one of."""

SHARED_CLASSES = {"Platform", "User"}
"""Classes of one idea in two rooms that may not import each other: of the language and of a runtime, of GitHub and of
the store."""

PUBLIC_ALL_THE_SAME = {"os._exit", "sys._current_frames", "hashlib._Hash"}
"""Documented functions that begin with an underscore, and a class that only its annotations name."""

SHIELDED_UNTIL_CLOSED = {"bassloop.store.logs.log_writer", "bassloop.store.logs.shipper"}
"""Modules with a shield that gets its deadline later: from `close`, which whoever started the task has to call."""


@dataclass(frozen=True, eq=False)
class Module:
    """A source file, and what it imports of the project."""

    name: str
    path: Path
    tree: ast.Module
    is_package: bool
    imported: set[str] = field(default_factory=set)

    @property
    def room(self) -> str:
        """The folder directly below `bassloop` that it is in, or its own name."""
        return self.name.split(".")[1] if "." in self.name else ""


@cache
def modules() -> dict[str, Module]:
    """Return every module by its dotted name, but for generated ones."""
    found = {}
    for path in sorted((SOURCE / "bassloop").rglob("*.py")):
        if path.name.endswith(GENERATED):
            continue
        parts = path.relative_to(SOURCE).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found[name] = Module(name, path, ast.parse(path.read_text()), is_package)
    for module in found.values():
        for imported, _ in imports(module.tree):
            if imported in found:
                module.imported.add(imported)
            elif imported.rpartition(".")[0] in found:
                module.imported.add(imported.rpartition(".")[0])
        module.imported.discard(module.name)
    return found


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Yield each imported name, dotted, with the statement that imports it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node


def circles() -> list[list[str]]:
    """Return the strongly connected components of the import graph that have more than one file (Tarjan)."""
    graph = {name: sorted(module.imported) for name, module in modules().items()}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            start = stack.index(name)
            component = sorted(stack[start:])
            del stack[start:]
            if len(component) > 1:
                found.append(component)

    for name in graph:
        if name not in index:
            visit(name)
    return found


def late_imports(module: Module) -> list[ast.stmt]:
    """Return the import statements inside of functions."""
    inside = {
        id(inner): inner
        for outer in ast.walk(module.tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    }
    return list(inside.values())


def exceeding(counts: dict[str, list[str]], allowed: dict[str, int]) -> dict[str, list[str]]:
    return {room: each for room, each in counts.items() if len(each) > allowed.get(room, 0)}


def test_imports_are_not_circular() -> None:
    by_room: dict[str, list[str]] = defaultdict(list)
    for circle in circles():
        for name in circle:
            by_room[modules()[name].room].append(name)
    assert not exceeding(by_room, CIRCULAR)


def test_imports_are_at_the_top_of_a_file() -> None:
    by_room: dict[str, list[str]] = defaultdict(list)
    for module in modules().values():
        if any(fnmatch(module.name, lazy) for lazy in LAZY):
            continue
        by_room[module.room] += [f"{module.name}:{node.lineno}" for node in late_imports(module)]
    assert not exceeding(by_room, LATE_IMPORTS)


def test_no_folder_imports_private_names_of_another() -> None:
    found = []
    for module in modules().values():
        for imported, node in imports(module.tree):
            parts = imported.split(".")
            if parts[0] != "bassloop" or parts[1:2] == [module.room]:
                continue
            if any(part.startswith("_") and not part.startswith("__") for part in parts):
                found.append(f"{module.name}:{node.lineno} imports {imported}")
    assert not found


def test_modules_have_different_names() -> None:
    named: dict[str, list[str]] = defaultdict(list)
    for module in modules().values():
        # A command's module is named for the command, whatever else is named for the thing.
        if not module.is_package and module.room != "cli":
            named[module.name.rpartition(".")[2]].append(module.name)
    shared = {name: each for name, each in named.items() if len(each) > 1}
    for name in CONVENTIONAL & shared.keys():
        if len({modules()[each].room for each in shared[name]}) == len(shared[name]):
            del shared[name]
    assert not shared


def test_classes_have_different_names() -> None:
    named: dict[str, list[str]] = defaultdict(list)
    for module in modules().values():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                named[node.name].append(module.name)
    shared = {name: each for name, each in named.items() if len(each) > 1}
    assert not {name: each for name, each in shared.items() if name not in SHARED_CLASSES}


def test_no_file_is_too_long_to_read() -> None:
    long = {
        module.name
        for module in modules().values()
        if len(module.path.read_text().splitlines()) > MAX_LINES
    }
    assert not long


def own_names() -> set[str]:
    """Return the names that the project itself defines, of whatever kind."""
    found = set()
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr if ast.unparse(node.value) == "self" else "")
    return found


def test_private_names_of_libraries_are_used_in_one_module() -> None:
    """Each use in `bridge/library_internals.py` has a test in `tests/bridge` that fails when it changes."""
    known, found = own_names() | {"_replace"}, []
    for module in modules().values():
        if module.name == "bassloop.bridge.library_internals":
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                is_private = not node.attr.startswith("__") and node.attr not in known
                if is_private and ast.unparse(node) not in PUBLIC_ALL_THE_SAME:
                    found.append(f"{module.name}:{node.lineno} {ast.unparse(node)}")
        for imported, statement in imports(module.tree):
            parts = imported.split(".")
            if parts[0] != "bassloop" and any(p.startswith("_") and p[:2] != "__" for p in parts):
                found.append(f"{module.name}:{statement.lineno} imports {imported}")
    assert not found


def calls(module: Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))


def test_a_shield_has_a_deadline() -> None:
    """`concurrency.shielded` takes one; whoever shields in another way has to be in the list above."""
    shields = {
        module.name
        for module in modules().values()
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.keyword) and node.arg == "shield")
        or (
            isinstance(node, ast.Attribute)
            and node.attr == "shield"
            and isinstance(node.ctx, ast.Store)
        )
    }
    assert shields == {"bassloop.concurrency"} | SHIELDED_UNTIL_CLOSED


def test_no_task_of_asyncio_is_started() -> None:
    """Tasks are Trio's, with a nursery; asyncio runs only what the libraries behind `bridge/` start."""
    started = [
        f"{module.name}:{call.lineno}"
        for module in modules().values()
        for call in calls(module)
        if ast.unparse(call.func).rpartition(".")[2] in ("create_task", "ensure_future")
    ]
    assert not started
