"""Combinations whose head is a name of Ground, compiled with what the name means there.

The code checks each time that the name still means that: the scope descends from Ground, and nothing under
Ground has bound the name. Otherwise the general code runs, and finds whatever the name means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.bass.errors import BassError
from bassloop.bass.machine import TAIL
from bassloop.bass.registry import TABLE
from bassloop.bass.values import EMPTY

if TYPE_CHECKING:
    from bassloop.bass.machine import Machine
    from bassloop.bass.ranges import Range
    from bassloop.bass.registry import BuiltinDefinition
    from bassloop.bass.scope import Scope
    from bassloop.bass.values import Code, Value


@dataclass(slots=True)
class Combination:
    """A combination to compile: the operands as written, and the code to fall back on."""

    name: str
    members: list[Value]
    tail: bool
    place: Range | None
    slow: Code


def compile_special(
    name: str, operands: Value, tail: bool, place: Range | None, slow: Code
) -> Code | None:
    """The code of `(name operands…)`, if Ground has a builtin of that name and the operands suit it."""
    definition = TABLE.get(name)
    if definition is None:
        return None
    from bassloop.bass.compiler import operands_of

    members, rest = operands_of(operands)
    count = len(members)
    most = definition.most
    if rest is not EMPTY or count < definition.least or (most is not None and count > most):
        return None
    if definition.special is not None:
        return definition.special(Combination(name, members, tail, place, slow))
    if definition.operative:
        return guarded_operative(name, definition, members, tail, place, slow)
    return _applicative(name, definition, members, tail, place, slow)


def guarded(call: Combination, fast: Code) -> Code:
    """The fast code as long as the name means what Ground has; errors learn where they happened."""
    name, place, slow = call.name, call.place, call.slow

    def run(scope: Scope, machine: Machine) -> Value:
        if not scope.grounded or name in machine.rebound:
            return slow(scope, machine)
        try:
            return fast(scope, machine)
        except BassError as error:
            if place is not None:
                error.passed(place)
            raise

    return run


def guarded_operative(
    name: str,
    definition: BuiltinDefinition,
    members: list[Value],
    tail: bool,
    place: Range | None,
    slow: Code,
) -> Code:
    """An operative builtin: called with the operands as they are written."""
    function = definition.function
    trampoline = definition.calls and not tail

    def run(scope: Scope, machine: Machine) -> Value:
        if not scope.grounded or name in machine.rebound:
            return slow(scope, machine)
        try:
            result = function(members, scope, machine)
            if trampoline:
                while result is TAIL:
                    body, inner = machine.run, machine.scope
                    machine.fuel -= 1
                    if machine.fuel < 0:
                        machine.refuel()
                    result = body(inner, machine)
            return result
        except BassError as error:
            if place is not None:
                error.passed(place)
            raise

    return run


def _applicative(
    name: str,
    definition: BuiltinDefinition,
    members: list[Value],
    tail: bool,
    place: Range | None,
    slow: Code,
) -> Code:
    """An applicative builtin: its operands are evaluated, and the function is called."""
    from bassloop.bass.compiler import code

    function = definition.function
    codes = [code(member) for member in members]
    if definition.calls and not tail:
        return _calling(name, definition, codes, place, slow)
    if len(codes) == 1:
        (only,) = codes

        def run_one(scope: Scope, machine: Machine) -> Value:
            if not scope.grounded or name in machine.rebound:
                return slow(scope, machine)
            try:
                return function([only(scope, machine)], scope, machine)
            except BassError as error:
                if place is not None:
                    error.passed(place)
                raise

        return run_one
    if len(codes) == 2:
        first, second = codes

        def run_two(scope: Scope, machine: Machine) -> Value:
            if not scope.grounded or name in machine.rebound:
                return slow(scope, machine)
            try:
                return function([first(scope, machine), second(scope, machine)], scope, machine)
            except BassError as error:
                if place is not None:
                    error.passed(place)
                raise

        return run_two

    def run(scope: Scope, machine: Machine) -> Value:
        if not scope.grounded or name in machine.rebound:
            return slow(scope, machine)
        try:
            return function([operand(scope, machine) for operand in codes], scope, machine)
        except BassError as error:
            if place is not None:
                error.passed(place)
            raise

    return run


def _calling(
    name: str, definition: BuiltinDefinition, codes: list[Code], place: Range | None, slow: Code
) -> Code:
    """The same for a builtin that may leave a call for the trampoline."""
    function = definition.function

    def run(scope: Scope, machine: Machine) -> Value:
        if not scope.grounded or name in machine.rebound:
            return slow(scope, machine)
        try:
            result = function([operand(scope, machine) for operand in codes], scope, machine)
            while result is TAIL:
                body, inner = machine.run, machine.scope
                machine.fuel -= 1
                if machine.fuel < 0:
                    machine.refuel()
                result = body(inner, machine)
            return result
        except BassError as error:
            if place is not None:
                error.passed(place)
            raise

    return run
