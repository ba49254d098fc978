"""Combiners, the heads of combinations, as data: functions, operatives, builtins. `compile/apply.py` calls them.

An operative takes its operands as they are written. An applicative evaluates them, from left to right, and hands the
values to the combiner inside it.
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
"""A builtin in Python: gets its arguments, the scope and the machine; may return `machine.TAIL`."""

DottedFunction: TypeAlias = "Callable[[list[Value], Value, Scope, Machine], Value]"
"""A builtin that is called with operands that end in something else than the empty list, which comes second."""


class OperativePlan(NamedTuple):
    """The compiled parts of an operative, which all its closures share.

    `names` are the parameters if the pattern of the operands is only a list of distinct symbols and the scope of the
    caller is ignored, else None. A call then needs no pattern matching.
    """

    names: tuple[str, ...] | None
    bind: Binder
    bind_scope: Binder | None
    run: Code


@final
class Operative(Combiner):
    """A combiner made by `op`: patterns for its operands and for the caller's scope, and a body.

    The parts of its plan are attributes, since calls read them all the time; `count` is the number of `names`, or -1.
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
    """A combiner that evaluates its operands, made by `wrap` around another combiner, or by `fn` around an operative.

    If the combiner inside is applicative as well, the values are evaluated once more.
    """

    kind = "applicative"
    applicative = True

    underlying: Combiner


@final
@value_type
class Builtin(Combiner):
    """A combiner written in Python.

    Its function receives the operands as they are written if it is operative, and arguments if it is inside an
    applicative. `least` and `most` bound their number (None for any number), which is checked before the call.
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
    """The combiner inside of a symbol, path or another value that can be called: it doesn't evaluate its operands."""

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
