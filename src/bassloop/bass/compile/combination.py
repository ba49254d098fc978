"""Combinations, `(f x y)`, and path forms.

The head of a combination is looked at when it runs, as the language demands: it may be an operative that takes its
operands as they are written. Operands are compiled when an applicative first asks for their values.

One thing is known ahead: a name of Ground that no scope under Ground has bound (`Machine.rebound` has the names that
were) has Ground's meaning in every scope that descends from it (`Scope.grounded`). So a call of a builtin is compiled
for that builtin. The code checks each time that the name still has its meaning; otherwise the general code runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass.compile import template
from bassloop.bass.compile.apply import apply_operands, as_combiner, call
from bassloop.bass.compile.code import COMPILED, code, operands_of
from bassloop.bass.errors import BassError
from bassloop.bass.path import DirPath, ExtendPath
from bassloop.bass.registry import TABLE, Combination
from bassloop.bass.values import EMPTY, Located, Pair, Symbol

if TYPE_CHECKING:
    from bassloop.bass.machine import Code, Machine
    from bassloop.bass.path import Path
    from bassloop.bass.ranges import Range
    from bassloop.bass.registry import BuiltinDefinition
    from bassloop.bass.values import Scope, Value


@COMPILED.of(Pair)
def _pair(form: Pair, tail: bool, place: Range | None) -> Code:
    head = _undocumented(form.a)
    if head.__class__ is Symbol and head.name in TABLE:
        return _call_of_builtin(TABLE[head.name], form, tail, place)
    return _general_call(form, tail, place)


def _undocumented(form: Value) -> Value:
    """Return a form without the reader's wrapper, if that has no comment and no metadata."""
    if form.__class__ is Located and not form.comment and form.meta is None:
        return form.form
    return form


def _general_call(form: Pair, tail: bool, place: Range | None) -> Code:
    head = _undocumented(form.a)
    operands, rest = operands_of(form.d)
    name = head.name if head.__class__ is Symbol else None
    if rest is not EMPTY:
        return _dotted_call(form, tail, place)

    def compile_operands() -> list[Code]:
        return [code(operand) for operand in operands]

    make = template.general_call(len(operands), named=name is not None, tail=tail)
    return make(name, code(form.a), form.d, compile_operands, place)


def _dotted_call(form: Pair, tail: bool, place: Range | None) -> Code:
    """Compile `(f x & rest)`, which has operands that are only known when it runs."""
    head, operands = code(form.a), form.d

    def run(scope: Scope, machine: Machine) -> Value:
        try:
            combiner = as_combiner(head(scope, machine))
            result = apply_operands(combiner, operands, scope, machine)
            return result if tail else machine.finish(result)
        except BassError as error:
            error.add_call(place)
            raise

    return run


def _call_of_builtin(
    definition: BuiltinDefinition, form: Pair, tail: bool, place: Range | None
) -> Code:
    operands, rest = operands_of(form.d)
    count, most = len(operands), definition.most
    if rest is not EMPTY or count < definition.least or (most is not None and count > most):
        return _general_call(form, tail, place)
    general: Code | None = None

    def slow(scope: Scope, machine: Machine) -> Value:
        nonlocal general
        if general is None:
            general = _general_call(form, tail, place)
        return general(scope, machine)

    name, function = definition.name, definition.function
    finish = definition.calls and not tail
    if definition.compiler is not None:
        try:
            compiled = definition.compiler(Combination(name, operands, tail, place, slow))
        except BassError:
            return slow  # and raise it when it runs
        return (
            compiled if definition.guards else template.special_call()(name, slow, place, compiled)
        )
    if definition.operative:
        return template.operative_call(finish=finish)(name, slow, place, function, operands)
    codes = [code(operand) for operand in operands]
    if definition.inline and count == 2:
        sorts, given = zip(*map(_sort, operands), strict=True)
        make = template.arithmetic_call(definition.inline, *sorts)
        return make(name, slow, place, function, given[0], codes[0], given[1], codes[1])
    return template.builtin_call(count, finish=finish)(name, slow, place, function, codes)


def _sort(operand: Value) -> tuple[str, Value]:
    """Return what an operand is to `arithmetic_call`, and its number or name."""
    operand = _undocumented(operand)
    if operand.__class__ is int:
        return "number", operand
    if operand.__class__ is Symbol:
        return "parameter", operand.name
    return "code", None


@COMPILED.of(ExtendPath)
def _extend_path(form: Value, tail: bool, place: Range | None) -> Code:
    """Compile `parent/child`: a directory is extended once and for all, anything else is called with the child."""
    children = []
    while isinstance(form, ExtendPath):
        children.append(form.child)
        form = form.parent
    children.reverse()
    if isinstance(form, DirPath):
        path: Path = form
        for child in children:
            path = path.extend(child)
        return lambda scope, machine: path
    root = code(form)

    def run(scope: Scope, machine: Machine) -> Value:
        try:
            value = root(scope, machine)
            for child in children:
                value = call(value, [child], machine, scope)
            return value
        except BassError as error:
            error.add_call(place)
            raise

    return run
