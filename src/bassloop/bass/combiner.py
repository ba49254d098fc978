"""Combiners: operatives, applicatives and builtins, and how every callable value is called.

An operative receives its operands unevaluated. An applicative evaluates them, from left to right, and passes the values
to its underlying combiner.

A combiner is called with unevaluated operands (`apply_operands`), or with arguments, which are values (`apply`,
`call`). `APPLIED` has a method for each class of combiner, which calls it with arguments. To make a new type of value
callable, derive it from `Combiner` and add a method.

Every function that calls something may return `TAIL`, except `call`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, final

from bassloop.bass.compile.code import evaluate_operands
from bassloop.bass.errors import (
    BassError,
    Unbound,
    arity,
    brief,
    function_arity,
    not_a_list,
    not_callable,
    wrong_type,
)
from bassloop.bass.machine import TAIL
from bassloop.bass.path import CommandPath, DirPath, FilePath, Path, PlacedPath
from bassloop.bass.printer import PRINTED, Parts, Verbatim
from bassloop.bass.thunk import Thunk, ThunkPath
from bassloop.bass.values import (
    EMPTY,
    IGNORE,
    MISSING,
    Combiner,
    Methods,
    Pair,
    Scope,
    Symbol,
    Value,
    end_of,
    from_list,
    plain,
    strip,
    value_type,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.machine import Binder, Code, Machine


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
        "bind", "bind_scope", "body", "count", "formals", "grounded", "names", "parents", "run",
        "scope_formal", "static",
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
        self.grounded = static.grounded is True
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


# --- calls ---


Apply: TypeAlias = "Callable[[Any, list[Value], Scope, Machine], Value]"

APPLIED: Final[Methods[Apply]] = Methods()
"""Methods that call a combiner with arguments, by class."""


def call(combiner: Value, args: list[Value], machine: Machine, scope: Scope | None = None) -> Value:
    """Call a combiner with arguments, and return the result. An operative takes them as its operands.

    The caller's scope is a new empty one by default. Raises `BassError`.
    """
    combiner = as_combiner(combiner)
    scope = Scope() if scope is None else scope
    return machine.finish(APPLIED[combiner.__class__](combiner, args, scope, machine))


def as_combiner(value: Value) -> Combiner:
    """Return the value of a combination's head as a combiner. Raises `BassError` if it isn't one."""
    bare = plain(value)
    if not isinstance(bare, Combiner):
        raise not_callable(value)
    return bare


def apply(combiner: Combiner, args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Call a combiner with arguments."""
    return APPLIED[combiner.__class__](combiner, args, scope, machine)


def apply_operands(combiner: Combiner, operands: Value, scope: Scope, machine: Machine) -> Value:
    """Call a combiner with unevaluated operands: a list, which may be improper."""
    if isinstance(combiner, Operative):
        return _bind_operands(combiner, operands, scope, machine)
    if combiner.applicative or isinstance(combiner, Thunk):
        args, rest = evaluate_operands(operands, scope, machine)
        if rest is EMPTY:
            return apply(combiner, args, scope, machine)
        return apply_operands(unwrap(combiner), from_list(args, rest), scope, machine)
    args = []
    rest = end_of(operands, args)
    if rest is EMPTY:
        return apply(combiner, args, scope, machine)
    if isinstance(combiner, Builtin) and combiner.dotted is not None:
        return combiner.dotted(args, rest, scope, machine)
    raise not_a_list(operands, combiner)


def unwrap(combiner: Combiner) -> Combiner:
    """Return the underlying combiner of one that evaluates its operands."""
    return combiner.underlying if isinstance(combiner, Applicative) else Unwrapped(combiner)


@APPLIED.of(Operative)
def _call_operative(
    operative: Operative, args: list[Value], scope: Scope, machine: Machine
) -> Value:
    names = operative.names
    if names is None:
        return _bind_operands(operative, from_list(args), scope, machine)
    if len(names) != len(args):
        raise function_arity(operative.formals, len(names), args)
    machine.tail_code = operative.run
    machine.tail_scope = Scope(
        dict(zip(names, args, strict=True)), operative.parents, operative.grounded
    )
    return TAIL


def _bind_operands(operative: Operative, operands: Value, scope: Scope, machine: Machine) -> Value:
    inner = Scope({}, operative.parents, operative.grounded)
    mismatch = operative.bind(inner, operands, machine)
    if mismatch is None and operative.bind_scope is not None:
        machine.reified += 1
        mismatch = operative.bind_scope(inner, scope, machine)
    if mismatch is not None:
        raise mismatch.error()
    machine.tail_code, machine.tail_scope = operative.run, inner
    return TAIL


@APPLIED.of(Applicative)
def _call_applicative(
    combiner: Applicative, args: list[Value], scope: Scope, machine: Machine
) -> Value:
    inside = combiner.underlying
    if inside.applicative:
        return apply_operands(inside, from_list(args), scope, machine)
    return apply(inside, args, scope, machine)


@APPLIED.of(Builtin)
def _call_builtin(builtin: Builtin, args: list[Value], scope: Scope, machine: Machine) -> Value:
    count = len(args)
    if count < builtin.least or (builtin.most is not None and count > builtin.most):
        raise arity(builtin.name, builtin.least, count, variadic=builtin.most != builtin.least)
    return builtin.function(args, scope, machine)


@APPLIED.of(Unwrapped)
def _call_unwrapped(
    combiner: Unwrapped, args: list[Value], scope: Scope, machine: Machine
) -> Value:
    return apply(combiner.wrapped, args, scope, machine)


@APPLIED.of(ErrorValue)
def _call_error(value: ErrorValue, args: list[Value], scope: Scope, machine: Machine) -> Value:
    raise value.error.copy()


@APPLIED.of(Symbol)
def _call_symbol(symbol: Symbol, args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Return the value of the symbol in the scope `args[0]`, or `args[1]` if it isn't bound there."""
    if not args:
        raise arity(f":{symbol.name}", 1, 0, variadic=True)
    source = strip(args[0])
    if source.__class__ is not Scope:
        raise wrong_type(source, "scope", f":{symbol.name}")
    value = source.get(symbol.name)
    if value is not MISSING:
        return value
    if len(args) > 1:
        return args[1]
    raise Unbound(symbol.name, source, is_key=True)


@APPLIED.of(CommandPath, FilePath)
def _call_command(path: Path, args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Return a thunk with the arguments on its standard input."""
    return Thunk(args=(path,), stdin=tuple(args))


@APPLIED.of(DirPath)
def _call_directory(path: Path, args: list[Value], scope: Scope, machine: Machine) -> Value:
    if len(args) != 1:
        if brief(path) == "/":
            raise BassError("/ is the root folder; the quotient is (quot 7 2)")
        raise arity(brief(path), 1, len(args))
    child = strip(args[0])
    if not isinstance(child, Path):
        raise wrong_type(child, "path", brief(path))
    return path.extend(child)


@APPLIED.of(PlacedPath)
def _call_placed(path: PlacedPath, args: list[Value], scope: Scope, machine: Machine) -> Value:
    method = _call_command if isinstance(path.path, FilePath) else _call_directory
    return method(path, args, scope, machine)


@APPLIED.of(Thunk)
def _call_thunk(thunk: Thunk, args: list[Value], scope: Scope, machine: Machine) -> Value:
    return _call_directory(ThunkPath(thunk), args, scope, machine)


# --- how they print ---


@PRINTED.of(Operative)
def _operative_parts(operative: Operative) -> Parts:
    yield Verbatim("(op ")
    yield operative.formals
    yield Verbatim(" ")
    yield operative.scope_formal
    yield Verbatim(" ")
    yield operative.body
    yield Verbatim(")")


@PRINTED.of(Applicative)
def _applicative_parts(applicative: Applicative) -> Parts:
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
def _builtin_parts(builtin: Builtin) -> Parts:
    yield Verbatim("<builtin: ")
    yield Pair(Symbol(builtin.name), builtin.formals)
    yield Verbatim(">")


@PRINTED.of(Unwrapped)
def _unwrapped_parts(unwrapped: Unwrapped) -> Parts:
    yield Verbatim("(unwrap ")
    yield unwrapped.wrapped
    yield Verbatim(")")


@PRINTED.of(ErrorValue)
def _error_parts(value: ErrorValue) -> Parts:
    yield Verbatim(f"<error: {value.error.message}>")
