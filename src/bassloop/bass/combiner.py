"""Combiners as data: operatives, applicatives, builtins. `compile/apply.py` calls them.

An operative receives its operands unevaluated. An applicative evaluates them, from left to right, and passes the values
to its underlying combiner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias, final

from bassloop.bass.printer import PRINTED, Parts, Verbatim
from bassloop.bass.values import IGNORE, Combiner, Pair, Symbol, Value, value_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.errors import BassError
    from bassloop.bass.machine import Binder, Code, Machine
    from bassloop.bass.values import Scope

Function: TypeAlias = "Callable[[list[Value], Scope, Machine], Value]"
"""A builtin's implementation, called with the arguments, the caller's scope, and the machine. It may return `TAIL`."""

DottedFunction: TypeAlias = "Callable[[list[Value], Value, Scope, Machine], Value]"
"""A builtin's implementation for improper lists of operands, whose end is the second argument."""


class OperativePlan(NamedTuple):
    """The compiled parts of an operative, which all closures made from it share.

    If the operands' pattern is just a list of distinct symbols and the caller's scope is ignored, `names` are these
    symbols, and calls need no pattern matching. Otherwise, it's None.
    """

    names: tuple[str, ...] | None
    bind: Binder
    bind_scope: Binder | None
    run: Code


@final
class Operative(Combiner):
    """A combiner made by `op`: patterns for its operands and for the caller's scope, and a body.

    The plan's parts are attributes of their own because every call reads them. `count` is the number of `names`, or -1.
    """

    __slots__ = (
        "bind", "bind_scope", "body", "count", "formals", "names", "parents", "run", "scope_formal", "static",
    )  # fmt: skip
    kind = "operative"

    def __init__(
        self, formals: Value, scope_formal: Value, body: Value, static: Scope, plan: OperativePlan
    ) -> None:
        self.formals = formals
        self.scope_formal = scope_formal
        self.body = body
        self.static = static
        self.parents = (static,)
        self.names, self.bind, self.bind_scope, self.run = plan
        self.count = -1 if plan.names is None else len(plan.names)


@final
@value_type
class Applicative(Combiner):
    """A combiner that evaluates its operands, made by `wrap` from another combiner, or by `fn` from an operative.

    If the underlying combiner is applicative as well, the values are evaluated once more.
    """

    kind = "applicative"
    applicative = True

    underlying: Combiner


@final
@value_type
class Builtin(Combiner):
    """A combiner written in Python.

    Its function receives unevaluated operands if it's operative, and arguments if it's within an applicative. Calls
    check their number against `least` and `most` (None if there's no maximum).
    """

    kind = "builtin"

    name: str
    formals: Value
    function: Function
    least: int = 0
    most: int | None = None
    operative: bool = False
    dotted: DottedFunction | None = None


@final
@value_type
class Unwrapped(Combiner):
    """The underlying combiner of a symbol, a path or another callable value. It doesn't evaluate its operands."""

    wrapped: Combiner


@final
@value_type
class ErrorValue(Combiner):
    """An error as a value: calling it raises the error."""

    kind = "error"

    error: BassError


@PRINTED.of(Operative)
def _operative(operative: Operative) -> Parts:
    yield Verbatim("(op ")
    yield operative.formals
    yield Verbatim(" ")
    yield operative.scope_formal
    yield Verbatim(" ")
    yield operative.body
    yield Verbatim(")")


@PRINTED.of(Applicative)
def _applicative(applicative: Applicative) -> Parts:
    inside = applicative.underlying
    if isinstance(inside, Operative) and inside.scope_formal is IGNORE:
        yield Verbatim("(fn ")
        yield inside.formals
        yield Verbatim(" ")
        yield inside.body
    else:
        yield Verbatim("(wrap ")
        yield inside
    yield Verbatim(")")


@PRINTED.of(Builtin)
def _builtin(builtin: Builtin) -> Parts:
    yield Verbatim("<builtin: ")
    yield Pair(Symbol(builtin.name), builtin.formals)
    yield Verbatim(">")


@PRINTED.of(Unwrapped)
def _unwrapped(unwrapped: Unwrapped) -> Parts:
    yield Verbatim("(unwrap ")
    yield unwrapped.wrapped
    yield Verbatim(")")


@PRINTED.of(ErrorValue)
def _error(value: ErrorValue) -> Parts:
    yield Verbatim(f"<error: {value.error.message}>")
