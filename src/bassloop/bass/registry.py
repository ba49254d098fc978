"""The table of what Ground has that is written in Python.

Modules under `builtins/` fill it when they are imported, with `@builtin`. It is complete, and constant, once
`ground` has been imported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.machine import Machine
    from bassloop.bass.scope import Scope
    from bassloop.bass.special import Combination
    from bassloop.bass.values import Code, Value

Function: TypeAlias = "Callable[[list[Value], Scope, Machine], Value]"
Dotted: TypeAlias = "Callable[[list[Value], Value, Scope, Machine], Value]"
Special: TypeAlias = "Callable[[Combination], Code | None]"


@dataclass(slots=True)
class BuiltinDefinition:
    """A builtin: how it is called, what it does, what is said about it.

    `special` compiles a combination whose head is this name (see `special.py`). `calls` says that the
    function may leave a call for the trampoline. `indent` is metadata for editors.
    """

    name: str
    formals: str
    function: Function
    doc: str
    operative: bool
    least: int
    most: int | None
    calls: bool
    indent: bool
    shown: str
    special: Special | None = None
    dotted: Dotted | None = None


TABLE: Final[dict[str, BuiltinDefinition]] = {}
"""The builtins of Ground, by name."""

INTERNAL: Final[dict[str, BuiltinDefinition]] = {}
"""Builtins that only std modules see."""


def builtin(
    name: str,
    formals: str,
    doc: str = "",
    *,
    operative: bool = False,
    calls: bool = False,
    indent: bool = False,
    internal: bool = False,
    shown: str = "",
    count: int | None = None,
) -> Callable[[Function], Function]:
    """Put a function into Ground under a name.

    `formals` is written as in the language, and says how many arguments there may be. The documentation is
    paragraphs, of which those that begin with `=>` are examples. `shown` is the name it prints with, if that
    is another one, `count` how many arguments it takes if the formals do not tell.
    """
    least, most = bounds(formals) if count is None else (count, count)

    def define(function: Function) -> Function:
        table = INTERNAL if internal else TABLE
        text = "\n\n".join(" ".join(paragraph.split()) for paragraph in doc.strip().split("\n\n"))
        table[name] = BuiltinDefinition(
            name, formals, function, text, operative, least, most, calls, indent, shown or name
        )
        return function

    return define


def dotted(name: str) -> Callable[[Dotted], Dotted]:
    """Let a function do the calls of a builtin whose operands end in something else than the empty list."""

    def define(function: Dotted) -> Dotted:
        TABLE[name].dotted = function
        return function

    return define


def special(*names: str) -> Callable[[Special], Special]:
    """Let a function compile the combinations of these builtins."""

    def define(function: Special) -> Special:
        for name in names:
            TABLE[name].special = function
        return function

    return define


_NESTED: Final = re.compile(r"\([^()]*\)")


def bounds(formals: str) -> tuple[int, int | None]:
    """How many arguments formals take: at least, and at most (None for any number)."""
    if not formals.startswith("["):
        return 0, None
    while (shorter := _NESTED.sub("_", formals[1:-1])) != formals[1:-1]:
        formals = f"[{shorter}]"
    fixed, ampersand, _ = formals[1:-1].partition("&")
    least = len(fixed.split())
    return least, None if ampersand else least
