"""Compiling patterns to binders, which destructure values for `def`, parameters, `case` and `bind`.

A binder returns None, or a `Mismatch` if the value doesn't match. That's cheap: no message is formatted unless the
mismatch is raised, which `case` never does. Names that were bound before the mismatch stay bound. A binder raises only
errors of code within the pattern, such as a default.

`PATTERNS` has a method for each class of value that is a pattern. Python's own values match equal values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bassloop.bass.compile.code import code, locate, meta_code
from bassloop.bass.equality import equal
from bassloop.bass.errors import BassError, Mismatch, Unbound, bad_syntax, brief, wrong_type
from bassloop.bass.path import CommandPath, DirPath, ExtendPath, FilePath
from bassloop.bass.registry import TABLE
from bassloop.bass.values import (
    EMPTY,
    MISSING,
    Bind,
    Cell,
    Cons,
    Empty,
    Ignore,
    Keyword,
    Located,
    Methods,
    Object,
    Pair,
    Scope,
    Symbol,
    Value,
    WithMeta,
    end_of,
    plain,
    strip,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bassloop.bass.machine import Binder, Code, Machine

PATTERNS: Final[Methods[Callable[[Any], Binder]]] = Methods()
"""The compilers of patterns, by class."""


def binder(pattern: Value) -> Binder:
    """Return the binder of a pattern. Raises `BassError` if the value isn't one."""
    return PATTERNS[pattern.__class__](pattern)


def bind(pattern: Value, value: Value, scope: Scope, machine: Machine) -> None:
    """Bind a pattern's names in a scope. Raises `BassError` if the value doesn't match."""
    mismatch = binder(pattern)(scope, value, machine)
    if mismatch is not None:
        raise mismatch.error()


def parameters(pattern: Value) -> tuple[str, ...] | None:
    """Return the names in a pattern if it's just a list of distinct symbols, otherwise None."""
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
    return tuple(names) if len(set(names)) == len(names) else None


def _inner(pattern: Value) -> Binder:
    """Return the binder of a member of a pattern. A member that isn't a pattern fails when it is reached."""
    try:
        return binder(pattern)
    except BassError as error:
        mismatch = Mismatch(pattern, None, error)
        return lambda scope, value, machine: mismatch


@PATTERNS.of(Object)
def _no_pattern(pattern: Object) -> Binder:
    raise BassError(lambda: f"bind: cannot bind to {brief(pattern)}")


@PATTERNS.of(object, Empty, CommandPath, FilePath, DirPath)
def _constant(pattern: Value) -> Binder:
    return _equal_to(pattern, pattern)


@PATTERNS.of(Keyword)
def _keyword(pattern: Keyword) -> Binder:
    return _equal_to(pattern, Symbol(pattern.name))


def _equal_to(pattern: Value, constant: Value) -> Binder:
    """Match values that are equal to a constant, and bind nothing."""

    def match(scope: Scope, value: Value, machine: Machine) -> Mismatch | None:
        if value is constant or equal(constant, value):
            return None
        return Mismatch(pattern, value)

    return match


@PATTERNS.of(ExtendPath)
def _path(pattern: ExtendPath) -> Binder:
    evaluate = code(pattern)

    def match(scope: Scope, value: Value, machine: Machine) -> Mismatch | None:
        return None if equal(evaluate(scope, machine), value) else Mismatch(pattern, value)

    return match


@PATTERNS.of(Ignore)
def _ignore(pattern: Ignore) -> Binder:
    return lambda scope, value, machine: None


@PATTERNS.of(Symbol)
def _symbol(pattern: Symbol) -> Binder:
    """Match any value, and bind it."""
    name = pattern.name
    if name in TABLE:

        def shadow(scope: Scope, value: Value, machine: Machine) -> Mismatch | None:
            scope.vars[name] = value
            if scope.grounded:
                machine.shadowed.add(name)
            return None

        return shadow

    def bind(scope: Scope, value: Value, machine: Machine) -> Mismatch | None:
        scope.vars[name] = value
        return None

    return bind


@PATTERNS.of(Cell)
def _list(pattern: Cell) -> Binder:
    """Match lists member by member; the pattern after `&` matches the rest."""
    members: list[Value] = []
    rest_pattern = end_of(pattern, members)
    binders = [_inner(member) for member in members]
    rest = _inner(rest_pattern)

    def bind(scope: Scope, value: Value, machine: Machine) -> Mismatch | None:
        left = value
        for member in binders:
            cls = left.__class__
            if cls is not Pair and cls is not Cons:
                left = plain(left)
                if not isinstance(left, Cell):
                    return Mismatch(pattern, value)
            mismatch = member(scope, left.a, machine)
            if mismatch is not None:
                return mismatch
            left = left.d
        if rest_pattern is EMPTY:
            if left is EMPTY or plain(left) is EMPTY:
                return None
            return Mismatch(pattern, value)
        return rest(scope, left, machine)

    return bind


@PATTERNS.of(Bind)
def _scope(pattern: Bind) -> Binder:
    """Match scopes that bind the pattern's keywords; a key that is written `(:key default)` may be missing."""
    entries = list(_entries(pattern))

    def bind(scope: Scope, value: Value, machine: Machine) -> Mismatch | None:
        given = plain(value)
        if given.__class__ is not Scope:
            return Mismatch(pattern, value)
        for entry in entries:
            if isinstance(entry, BassError):
                return Mismatch(pattern, value, entry)
            name, default, member = entry
            found = given.get(name)
            if found is MISSING:
                if default is None:
                    return Mismatch(pattern, value, Unbound(name, given, is_key=True))
                found = default(scope, machine)
            mismatch = member(scope, found, machine)
            if mismatch is not None:
                return mismatch
        return None

    return bind


def _entries(pattern: Bind) -> Iterator[tuple[str, Code | None, Binder] | BassError]:
    """Yield the keys of a pattern with their defaults and binders. An invalid one yields an error and is the last."""
    members = pattern.members
    if len(members) % 2:
        yield bad_syntax(f"the pattern {brief(pattern)} has a key without a pattern")
        return
    for key_form, member in zip(members[::2], members[1::2], strict=True):
        key = plain(key_form)
        default = None
        if isinstance(key, Cell):
            parts: list[Value] = []
            end = end_of(key, parts)
            if end is not EMPTY or len(parts) != 2:
                yield bad_syntax(f"{brief(key)} in a pattern must be a keyword and a default")
                return
            key = plain(parts[0])
            default = code(parts[1])
        if key.__class__ is not Keyword:
            yield wrong_type(key, "keyword", "bind")
            return
        yield key.name, default, _inner(member)


@PATTERNS.of(Located)
def _located(pattern: Located) -> Binder:
    """Match like the form inside. If it has a comment or `^`, the value is bound with that as metadata."""
    inner = binder(pattern.form)
    if not pattern.comment and not pattern.meta:
        return inner
    meta_of = meta_code(pattern)
    span = pattern.range

    def bind(scope: Scope, value: Value, machine: Machine) -> Mismatch | None:
        meta = strip(meta_of(scope, machine))
        locate(meta, span)
        return inner(scope, WithMeta(value, meta), machine)

    return bind
