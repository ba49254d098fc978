"""The definitions of what Ground has that is written in Python.

Modules under `builtins/` add to `TABLE` when they are imported, with `@builtin` or `@special_form`. It is complete, and
constant, once `ground` has been imported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.combiner import DottedFunction, Function
    from bassloop.bass.machine import Code, Machine
    from bassloop.bass.ranges import Range
    from bassloop.bass.values import Scope, Value


@dataclass(slots=True)
class Combination:
    """A call of a special form that is to be compiled: its operands as written, and where it stands.

    `slow` is the code to run instead when the name of the form has another meaning at run time; None in a call that
    doesn't go by the name.
    """

    name: str
    operands: list[Value]
    tail: bool
    place: Range | None = None
    slow: Code | None = None


Compiler: TypeAlias = "Callable[[Combination], Code]"


@dataclass(slots=True)
class BuiltinDefinition:
    """A builtin: how it is called, what it does, and its documentation.

    `calls` says that the function may return `TAIL`. `inline` is the Python operator that does the same with two
    integers. `compiler` compiles a call of a special form, whose `function` does the same at once; `guards` says that
    its code checks by itself whether the name still has its meaning. `indent` and `deprecated` (what to use instead)
    are metadata, and `shown` is the name that it prints with.
    """

    name: str
    formals: str
    function: Function
    doc: str
    least: int
    most: int | None
    shown: str
    operative: bool = False
    calls: bool = False
    indent: bool = False
    inline: str = ""
    deprecated: str = ""
    dotted: DottedFunction | None = None
    compiler: Compiler | None = None
    guards: bool = False


TABLE: Final[dict[str, BuiltinDefinition]] = {}
"""The builtins of Ground, by name."""

INTERNAL: Final[dict[str, BuiltinDefinition]] = {}
"""Builtins that only modules of std see."""


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
    inline: str = "",
    deprecated: str = "",
    dotted: DottedFunction | None = None,
) -> Callable[[Function], Function]:
    """Return a decorator that puts a function into Ground under a name.

    `formals` is written as in the language, and says how many arguments there may be, unless `count` does. The
    documentation consists of paragraphs, of which those that begin with `=>` are examples. `dotted` does calls whose
    operands end in something else than the empty list.
    """
    least, most = bounds(formals) if count is None else (count, count)

    def define(function: Function) -> Function:
        table = INTERNAL if internal else TABLE
        table[name] = BuiltinDefinition(
            name, formals, function, _paragraphs(doc), least, most, shown or name,
            operative, calls, indent, inline, deprecated, dotted,
        )  # fmt: skip
        return function

    return define


def special_form(
    name: str, formals: str, doc: str, *, indent: bool = False, guards: bool = False
) -> Callable[[Compiler], Compiler]:
    """Return a decorator that makes a function a special form's compiler, and puts the form into Ground.

    The compiler is called once for a call of the form that is written in a program. Where the form is called in
    another way (`apply`, or from a scope that doesn't descend from Ground), it is called each time.
    """
    least, most = bounds(formals)

    def define(compiler: Compiler) -> Compiler:
        def function(args: list[Value], scope: Scope, machine: Machine) -> Value:
            return compiler(Combination(name, args, tail=True))(scope, machine)

        function.__module__ = compiler.__module__
        TABLE[name] = BuiltinDefinition(
            name, formals, function, _paragraphs(doc), least, most, name,
            operative=True, calls=True, indent=indent, compiler=compiler, guards=guards,
        )  # fmt: skip
        return compiler

    return define


def _paragraphs(doc: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in doc.strip().split("\n\n"))


_NESTED: Final = re.compile(r"\([^()]*\)")


def bounds(formals: str) -> tuple[int, int | None]:
    """Return how many arguments formals take: at least, and at most (None for any number)."""
    if not formals.startswith("["):
        return 0, None
    while (shorter := _NESTED.sub("_", formals[1:-1])) != formals[1:-1]:
        formals = f"[{shorter}]"
    fixed, ampersand, _ = formals[1:-1].partition("&")
    least = len(fixed.split())
    return least, None if ampersand else least
