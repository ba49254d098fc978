"""Raising errors: error, assert, refute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import arguments
from bassloop.bass.builtins.control import truthy
from bassloop.bass.combiner import call, unwrap
from bassloop.bass.compile.code import code
from bassloop.bass.errors import BassError, brief
from bassloop.bass.registry import builtin, function
from bassloop.bass.values import Pair, Scope, Value, from_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.bass.machine import Machine


def _holds(args: list[Value], scope: Scope, machine: Machine) -> tuple[bool, Value]:
    """Return whether a predicate is true of its arguments, and the call with the arguments evaluated."""
    predicate = arguments.applicative(code(args[0])(scope, machine), "assert")
    values = [code(form)(scope, machine) for form in args[1:]]
    return truthy(call(unwrap(predicate), values, machine)), Pair(args[0], from_list(values))


@builtin(
    "assert", "[predicate & args]",
    """Raises an error unless a predicate is true of the arguments. By convention the expected value comes first.

    => (assert = 42 (* 6 7))""",
    operative=True, indent=True,
)  # fmt: skip
def assert_(args: list[Value], scope: Scope, machine: Machine) -> Value:
    holds, form = _holds(args, scope, machine)
    if not holds:
        raise BassError(lambda: f"assertion failed: {brief(form)}")
    return None


@builtin(
    "refute", "[predicate & args]",
    """Raises an error if a predicate is true of the arguments.

    => (refute = 42 (* 6 8))""",
    operative=True, indent=True,
)  # fmt: skip
def refute(args: list[Value], scope: Scope, machine: Machine) -> Value:
    holds, form = _holds(args, scope, machine)
    if holds:
        raise BassError(lambda: f"refutation failed: {brief(form)}")
    return None


@function("error", """Raises an error with this message.

    Fields may follow, as alternating names and values.

    => (error "cannot find it" :name "it")""")  # fmt: skip
def error(msg: str, *fields: Value) -> Value:
    named = fields_of(fields, "error")
    raise BassError(msg, fields=named if named.vars else None)


def fields_of(values: Sequence[Value], where: str) -> Scope:
    """Return a scope of alternating names and values; a last name without a value is left out."""
    pairs = zip(values[::2], values[1::2], strict=False)
    return Scope({arguments.symbol(name, where): value for name, value in pairs})
