"""Destructuring: a pattern and a value, to names in a scope.

A mismatch is an object with the two; it becomes a text only when somebody reads it, for `case` fails
to match far more often than anybody looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass.equality import equal
from bassloop.bass.errors import BassError
from bassloop.bass.values import (
    EMPTY,
    IGNORE,
    MISSING,
    Annotated,
    Bind,
    Cons,
    Empty,
    Ignore,
    Keyword,
    Pair,
    Scope,
    Symbol,
    Value,
    make_list,
    unwrap_form,
)

if TYPE_CHECKING:
    from bassloop.bass.machine import Machine


class Mismatch(BassError):
    """A value that does not match its pattern."""

    def __init__(self, pattern: Value, value: Value) -> None:
        super().__init__("")
        self._pattern, self._value = pattern, value

    @property
    def message(self) -> str:
        """What was expected and what was there."""
        from bassloop.bass.printer import show

        return f"can't bind {show(self._pattern)} to {show(self._value)[:500]}"

    @message.setter
    def message(self, value: str) -> None:
        pass

    def __str__(self) -> str:
        return self.message


def bind(machine: Machine, scope: Scope, pattern: Value, value: Value) -> None:
    """Bind the names of a pattern. Raises Mismatch; what was bound by then stays bound."""
    while True:
        kind = type(pattern)
        if kind is Annotated:
            if pattern.comment and type(unwrap_form(pattern)) is Symbol:
                scope.docs[unwrap_form(pattern).name] = pattern.comment
            pattern = pattern.value
            continue
        if kind is Symbol:
            scope.bindings[pattern.name] = value
            return
        if kind is Pair or kind is Cons:
            if type(value) is not Pair and type(value) is not Cons:
                raise Mismatch(pattern, value)
            bind(machine, scope, pattern.a, value.a)
            pattern, value = pattern.d, value.d
            continue
        if kind is Ignore:
            return
        if kind is Empty:
            if value is not EMPTY:
                raise Mismatch(pattern, value)
            return
        if kind is Bind:
            _bind_scope(machine, scope, pattern, value)
            return
        if kind is Keyword:
            if type(value) is not Symbol or value.name != pattern.name:
                raise Mismatch(pattern, value)
            return
        if not equal(pattern, value):
            raise Mismatch(pattern, value)
        return


def bind_arguments(machine: Machine, scope: Scope, formals: Value, arguments: list[Value]) -> None:
    """Bind formals to arguments in a Python list; the same as binding the list of them."""
    pattern, count = formals, len(arguments)
    bindings = scope.bindings
    for index in range(count):
        kind = type(pattern)
        if kind is Annotated:
            pattern = unwrap_form(pattern)
            kind = type(pattern)
        if kind is not Pair and kind is not Cons:
            if pattern is EMPTY:
                raise _arity(formals, count)
            bind(machine, scope, pattern, make_list(arguments[index:]))
            return
        name = pattern.a
        if type(name) is Annotated:
            name = unwrap_form(name)
        if type(name) is Symbol:
            bindings[name.name] = arguments[index]
        elif name is not IGNORE:
            bind(machine, scope, name, arguments[index])
        pattern = pattern.d
    if pattern is not EMPTY:
        pattern = unwrap_form(pattern)
        if type(pattern) is Pair or type(pattern) is Cons:
            raise _arity(formals, count)
        bind(machine, scope, pattern, EMPTY)


def _arity(formals: Value, given: int) -> BassError:
    need = _count(formals)
    return BassError(f"needs {need} argument{'s' * (need != 1)}, and was given {given}")


def _count(formals: Value) -> int:
    count = 0
    while type(formals) is Pair or type(formals) is Cons:
        count += 1
        formals = formals.d
    return count


def _bind_scope(machine: Machine, scope: Scope, pattern: Bind, value: Value) -> None:
    if type(value) is not Scope:
        raise Mismatch(pattern, value)
    forms = pattern.forms
    if len(forms) % 2:
        raise BassError("a scope's pattern needs a key and a pattern for each value", pattern.range)
    for index in range(0, len(forms), 2):
        key, default = unwrap_form(forms[index]), MISSING
        if type(key) is Pair:
            default = unwrap_form(key.d.a) if type(key.d) is Pair else MISSING
            key = unwrap_form(key.a)
        if type(key) is not Keyword:
            raise BassError("a scope's pattern names its keys with keywords", pattern.range)
        found = value.find(key.name)
        if found is MISSING:
            if default is MISSING:
                raise Mismatch(pattern, value)
            found = machine.evaluate(default, scope)
        bind(machine, scope, forms[index + 1], found)
