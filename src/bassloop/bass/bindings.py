"""Patterns: what `def`, parameters, `case` and `bind` take values apart with.

A pattern is compiled to a binder, `bind(scope, value, machine)`, which returns None, or the `Mismatch` that
tells why the value did not match. A failure is cheap, holds the facts, and becomes an error only when somebody
raises it: `case` looks at failures all the time and shows none. What was bound before a failure stays bound.
Only a default's own error is raised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from bassloop.bass import errors
from bassloop.bass.annotated import Located, WithMeta
from bassloop.bass.bind import Bind
from bassloop.bass.errors import BassError
from bassloop.bass.pair import Cell, Cons, Pair, end_of, plain
from bassloop.bass.registry import TABLE
from bassloop.bass.scope import MISSING, Scope
from bassloop.bass.symbol import Keyword, Symbol
from bassloop.bass.values import EMPTY, Object, Value, equal, strip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bassloop.bass.machine import Machine
    from bassloop.bass.ranges import Range

Binder: TypeAlias = "Callable[[Scope, Value, Machine], Mismatch | None]"


class Mismatch:
    """Why a value did not match: the pattern and the value, or an error that says it otherwise."""

    __slots__ = ("have", "need")

    def __init__(self, need: Value, have: Value) -> None:
        self.need = need
        self.have = have

    def error(self) -> BassError:
        """The failure as an error to raise."""
        if isinstance(self.have, BassError):
            return self.have
        return errors.mismatch(self.need, self.have)


def binder(pattern: Value) -> Binder:
    """What a value does as a pattern. Raises `BassError` if it cannot be one."""
    if isinstance(pattern, Object):
        return pattern.binder()
    return constant_binder(pattern, pattern)


def inner_binder(pattern: Value) -> Binder:
    """The same for a member of a pattern: a member that is no pattern fails when it is reached."""
    try:
        return binder(pattern)
    except BassError as error:
        failure = Mismatch(pattern, error)
        return lambda scope, value, machine: failure


def constant_binder(pattern: Value, constant: Value) -> Binder:
    """Matches values equal to a constant, and binds nothing."""

    def bind(scope: Scope, value: Value, machine: Machine) -> Mismatch | None:
        if value is constant or equal(constant, value):
            return None
        return Mismatch(pattern, value)

    return bind


def symbol_binder(name: str) -> Binder:
    """Matches any value, and binds it."""
    if name in TABLE:

        def rebind(scope: Scope, value: Value, machine: Machine) -> Mismatch | None:
            scope.vars[name] = value
            if scope.grounded:
                machine.rebound.add(name)
            return None

        return rebind

    def bind(scope: Scope, value: Value, machine: Machine) -> Mismatch | None:
        scope.vars[name] = value
        return None

    return bind


def list_binder(pattern: Cell) -> Binder:
    """Matches lists member by member; what follows `&` takes the rest."""
    members: list[Value] = []
    rest_pattern = end_of(pattern, members)
    binders = [inner_binder(member) for member in members]
    rest = inner_binder(rest_pattern)

    def bind(scope: Scope, value: Value, machine: Machine) -> Mismatch | None:
        left = value
        for member in binders:
            cls = left.__class__
            if cls is not Pair and cls is not Cons:
                left = plain(left)
                if not isinstance(left, Cell):
                    return Mismatch(pattern, value)
            failure = member(scope, left.a, machine)
            if failure is not None:
                return failure
            left = left.d
        if rest_pattern is EMPTY:
            if left is EMPTY or plain(left) is EMPTY:
                return None
            return Mismatch(pattern, value)
        return rest(scope, left, machine)

    return bind


def scope_binder(pattern: Bind) -> Binder:
    """Matches scopes that bind the pattern's keywords; `(:key default)` stands for a key that may be missing."""
    entries = _entries(pattern)

    def bind(scope: Scope, value: Value, machine: Machine) -> Mismatch | None:
        given = plain(value)
        if given.__class__ is not Scope:
            return Mismatch(pattern, value)
        for entry in entries:
            if isinstance(entry, BassError):
                return Mismatch(pattern, entry)
            name, default, member = entry
            failure: Mismatch | None
            found = given.get(name)
            if found is MISSING:
                if default is None:
                    return Mismatch(pattern, errors.unbound(name, given))
                found = default(scope, machine)
            failure = member(scope, found, machine)
            if failure is not None:
                return failure
        return None

    return bind


def _entries(pattern: Bind) -> list[Value]:
    from bassloop.bass.compiler import code

    members = pattern.members
    if len(members) % 2:
        return [
            errors.bad_syntax(f"the pattern {errors.brief(pattern)} has a key without a pattern")
        ]
    entries: list[Value] = []
    for key_form, member in zip(members[::2], members[1::2], strict=True):
        key = plain(key_form)
        default = None
        if isinstance(key, Cell):
            parts: list[Value] = []
            end = end_of(key, parts)
            if end is not EMPTY or len(parts) != 2:
                text = f"{errors.brief(key)} in a pattern must be a keyword and a default"
                entries.append(errors.bad_syntax(text))
                break
            key = plain(parts[0])
            default = code(parts[1])
        if key.__class__ is not Keyword:
            entries.append(errors.wrong_type(key, "keyword", "bind"))
            break
        entries.append((key.name, default, inner_binder(member)))
    return entries


def annotate_binder(pattern: Located) -> Binder:
    """Matches as the form inside; with a comment or `^`, the value is bound with that as its metadata."""
    inner = binder(pattern.form)
    if not pattern.comment and not pattern.meta:
        return inner
    from bassloop.bass.construct import meta_code

    meta_of = meta_code(pattern)
    place = pattern.range

    def bind(scope: Scope, value: Value, machine: Machine) -> Mismatch | None:
        meta = strip(meta_of(scope, machine))
        locate(meta, place)
        return inner(scope, WithMeta(value, meta), machine)

    return bind


def locate(meta: Scope, place: Range) -> None:
    """Say in metadata where something is defined."""
    meta.vars["file"] = place.source.file
    meta.vars["line"] = place.line
    meta.vars["column"] = place.column


def bound_names(pattern: Value) -> Iterator[str]:
    """The names that a pattern binds, as far as it can be one."""
    stack = [pattern]
    while stack:
        form = plain(stack.pop())
        if form.__class__ is Symbol:
            yield form.name
        elif isinstance(form, Cell):
            stack.append(form.d)
            stack.append(form.a)
        elif form.__class__ is Bind:
            stack.extend(reversed(form.members[1::2]))


def parameters(pattern: Value) -> tuple[str, ...] | None:
    """The names of a pattern that is nothing but a list of distinct symbols, else None."""
    members: list[Value] = []
    if end_of(pattern, members) is not EMPTY:
        return None
    names = []
    for member in members:
        if member.__class__ is Located:
            if member.comment or member.meta:
                return None
            member = member.form
        if member.__class__ is not Symbol:
            return None
        names.append(member.name)
    if len(set(names)) < len(names):
        return None
    return tuple(names)
