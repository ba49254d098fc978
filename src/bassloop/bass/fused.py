"""Arithmetic with two operands, by far the commonest: one function each, made for the shape of its operands.

`(- n 1)` as a closure that calls a closure for `n` and one for `1` is mostly calls. So the code of such a
combination is made from a template: a parameter is looked up in place, a number stands in place, and only what
is neither is called. A shape is made when it is first met, and once.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from bassloop.bass.annotated import Located
from bassloop.bass.compiler import code
from bassloop.bass.scope import MISSING
from bassloop.bass.symbol import Symbol
from bassloop.bass.values import INT_MAX, INT_MIN, wrap_int

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.machine import Machine
    from bassloop.bass.scope import Scope
    from bassloop.bass.special import Combination
    from bassloop.bass.values import Code, Value

    Otherwise = Callable[[Value, Value, Scope, Machine], Value]

TEMPLATE = """
def make(sign, slow, otherwise, first, first_code, second, second_code):
    def run(scope, machine):
        if not scope.grounded or sign in machine.rebound:
            return slow(scope, machine)
{operands}
        if {ints}:
{answer}
        return otherwise({a}, {b}, scope, machine)
    return run
"""
PARAMETER = """
        {at} = scope.vars.get({which}, MISSING)
        if {at} is MISSING:
            {at} = {which}_code(scope, machine)
"""
CALLED = """
        {at} = {which}_code(scope, machine)
"""
SUM = """
            result = {a} {sign} {b}
            return result if INT_MIN <= result <= INT_MAX else wrap_int(result)
"""
COMPARISON = """
            return {a} {sign} {b}
"""
PYTHON = {"+": "+", "-": "-", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "=": "=="}
"""What a sign is in Python, for two integers."""


def two_operands(call: Combination, otherwise: Otherwise) -> Code:
    """The code of `(sign first second)` for a sign of `PYTHON`.

    `otherwise(first, second, scope, machine)` answers when a value is no plain integer.
    """
    (first_kind, first), (second_kind, second) = (_operand(form) for form in call.members)
    make = _made(call.name, first_kind, second_kind)
    first_code, second_code = (code(form) for form in call.members)
    made: Code = make(call.name, call.slow, otherwise, first, first_code, second, second_code)
    return made


def _operand(form: Value) -> tuple[str, Value]:
    """The kind of an operand, and what its template needs of it."""
    if form.__class__ is Located and not form.comment and form.meta is None:
        form = form.form
    if form.__class__ is int:
        return "number", form
    if form.__class__ is Symbol:
        return "parameter", form.name
    return "called", None


@functools.cache
def _made(sign: str, first_kind: str, second_kind: str) -> Any:
    """The maker of one shape's code. Nothing of a script gets into its text."""
    operands, ints, names = "", [], {}
    for at, which, kind in (("a", "first", first_kind), ("b", "second", second_kind)):
        if kind == "number":
            names[at] = which
            continue
        names[at] = at
        operands += (PARAMETER if kind == "parameter" else CALLED).format(at=at, which=which)
        ints.append(f"{at}.__class__ is int")
    answer = (SUM if sign in "+-" else COMPARISON).format(sign=PYTHON[sign], **names)
    text = TEMPLATE.format(
        operands=operands, ints=" and ".join(ints) or "True", answer=answer, **names
    )
    room: dict[str, Any] = {
        "INT_MIN": INT_MIN, "INT_MAX": INT_MAX, "MISSING": MISSING, "wrap_int": wrap_int,
    }  # fmt: skip
    exec(compile(text, f"<{sign} of {first_kind} and {second_kind}>", "exec"), room)  # noqa: S102
    return room["make"]
