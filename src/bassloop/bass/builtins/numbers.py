"""Arithmetic on 64-bit integers, and comparison."""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING

from bassloop.bass import arguments
from bassloop.bass.equality import equal
from bassloop.bass.errors import BassError
from bassloop.bass.registry import builtin, function
from bassloop.bass.values import INT_MAX, INT_MIN, wrap_int

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.machine import Machine
    from bassloop.bass.values import Scope, Value


@builtin("+", "nums", "Adds numbers.\n\n=> (+ 20 20 2)", inline="+")
def add(args: list[Value], scope: Scope, machine: Machine) -> int:
    total = 0
    for arg in args:
        total += arg if arg.__class__ is int else arguments.integer(arg, "+")
    return total if INT_MIN <= total <= INT_MAX else wrap_int(total)


@builtin("*", "nums", "Multiplies numbers.\n\n=> (* 6 7)")
def multiply(args: list[Value], scope: Scope, machine: Machine) -> int:
    product = 1
    for arg in args:
        product = product * arguments.integer(arg, "*")
        if not INT_MIN <= product <= INT_MAX:
            product = wrap_int(product)
    return product


@builtin(
    "-", "[num & nums]",
    "Subtracts the other numbers from the first one, or negates a single number.\n\n=> (- 50 5 3)\n\n=> (- 42)",
    inline="-",
)  # fmt: skip
def subtract(args: list[Value], scope: Scope, machine: Machine) -> int:
    result = arguments.integer(args[0], "-")
    if len(args) == 1:
        return wrap_int(-result)
    for arg in args[1:]:
        result -= arguments.integer(arg, "-")
    return result if INT_MIN <= result <= INT_MAX else wrap_int(result)


@function("quot", "Returns the whole part of a quotient.\n\n=> (quot 85 2)")
def quotient(num: int, denom: int) -> int:
    if denom == 0:
        raise BassError(f"quot: cannot divide {num} by zero")
    result = abs(num) // abs(denom)
    return wrap_int(result if (num < 0) == (denom < 0) else -result)


@function("max", "Returns the largest number.\n\n=> (max 1 42 7)")
def largest(num: int, *nums: int) -> int:
    return max([num, *nums])


@function("min", "Returns the smallest number.\n\n=> (min 99 42 70)")
def smallest(num: int, *nums: int) -> int:
    return min([num, *nums])


@builtin(
    "=", "[val & vals]",
    """Returns whether all values are equal: of the same type, and the same all the way down.

    => (= 42 (+ 40 2) (* 6 7))

    => (= {:a 1 :b 2} {:b 2 :a 1})""",
    inline="==",
)  # fmt: skip
def same(args: list[Value], scope: Scope, machine: Machine) -> bool:
    first = args[0]
    return all(equal(other, first) for other in args[1:])


def _chain(name: str, doc: str, holds: Callable[[int, int], bool]) -> None:
    @builtin(name, "[num & nums]", doc, inline=name)
    def compare(args: list[Value], scope: Scope, machine: Machine) -> bool:
        numbers = [arguments.integer(arg, name) for arg in args]
        return all(holds(left, right) for left, right in itertools.pairwise(numbers))


_chain(">", "Returns whether each number is larger than the next one.\n\n=> (> 3 2 1)", operator.gt)
_chain(
    ">=", "Returns whether no number is smaller than the next one.\n\n=> (>= 3 2 2)", operator.ge
)
_chain(
    "<", "Returns whether each number is smaller than the next one.\n\n=> (< 1 2 3)", operator.lt
)
_chain("<=", "Returns whether no number is larger than the next one.\n\n=> (<= 2 2 3)", operator.le)
