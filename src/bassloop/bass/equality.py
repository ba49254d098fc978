"""Equality of values."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bassloop.bass.combiner import Applicative, Unwrapped
from bassloop.bass.errors import BassError
from bassloop.bass.filesystem import FSPath, MemoryFiles
from bassloop.bass.path import CachePath, CommandPath, DirPath, ExtendPath, FilePath, HostPath
from bassloop.bass.thunk import Secret, Thunk, ThunkAddr, ThunkPath
from bassloop.bass.values import (
    Bind,
    Cell,
    Empty,
    Ignore,
    Keyword,
    Methods,
    Object,
    Scope,
    Symbol,
    Value,
    WithMeta,
    plain,
)
from bassloop.bass.wire.encode import encoded_thunk

if TYPE_CHECKING:
    from collections.abc import Callable

Pending: TypeAlias = "list[tuple[Value, Value]]"

Comparison: TypeAlias = "Callable[[Any, Any, Pending], bool]"

EQUAL: Final[Methods[Comparison]] = Methods()
"""Shallow comparisons of two values of the same class.

A method doesn't compare inner values, but appends those that must be equal as well to the list that it's given.
"""


def equal(left: Value, right: Value) -> bool:
    """Return whether two values are of the same type and structurally equal.

    Metadata and `Located` wrappers are ignored, except that a thunk on the left differs from a value on the right with
    metadata.
    """
    pending: Pending = [(left, right)]
    scopes: set[tuple[Object, Object]] | None = None
    while pending:
        left, right = pending.pop()
        left = plain(left)
        if left.__class__ is Thunk and right.__class__ is WithMeta:
            return False
        right = plain(right)
        if left is right:
            continue
        cls = left.__class__
        if cls is not right.__class__:
            return False
        if isinstance(left, Object):
            if cls is Scope:
                # Compare two scopes only once, as they may be within themselves.
                if scopes is None:
                    scopes = set()
                elif (left, right) in scopes:
                    continue
                scopes.add((left, right))
            if not EQUAL[cls](left, right, pending):
                return False
        elif left != right:
            return False
    return True


@EQUAL.of(Object)
def _identical(left: Object, right: Object, pending: Pending) -> bool:
    return left is right


def _compare(fields: tuple[str, ...]) -> Comparison:
    """Return a comparison of values by these attributes, the first of which is compared first."""

    def compare(left: Object, right: Object, pending: Pending) -> bool:
        pending.extend((getattr(left, each), getattr(right, each)) for each in reversed(fields))
        return True

    return compare


_FIELDS: Final[dict[type[Object], tuple[str, ...]]] = {
    Ignore: (),
    Empty: (),
    Symbol: ("name",),
    Keyword: ("name",),
    Applicative: ("underlying",),
    Unwrapped: ("wrapped",),
    CommandPath: ("command",),
    FilePath: ("path",),
    DirPath: ("path",),
    ExtendPath: ("child", "parent"),
    CachePath: ("id", "path"),
    HostPath: ("context", "path"),
    ThunkPath: ("thunk", "path"),
    ThunkAddr: ("port", "format", "thunk"),
}
"""The attributes that decide whether two values of a class are equal."""

EQUAL.update({cls: _compare(fields) for cls, fields in _FIELDS.items()})


@EQUAL.of(Cell)
def _cells(left: Cell, right: Cell, pending: Pending) -> bool:
    pending.append((left.d, right.d))  # by hand, because lists are long
    pending.append((left.a, right.a))
    return True


@EQUAL.of(Bind)
def _binds(left: Bind, right: Bind, pending: Pending) -> bool:
    if len(left.members) != len(right.members):
        return False
    pending.extend(zip(left.members, right.members, strict=True))
    return True


@EQUAL.of(Scope)
def _scopes(left: Scope, right: Scope, pending: Pending) -> bool:
    mine, theirs = dict(left.items()), dict(right.items())
    if mine.keys() != theirs.keys():
        return False
    pending.extend((value, theirs[name]) for name, value in mine.items())
    return True


@EQUAL.of(FSPath)
def _fs_paths(left: FSPath, right: FSPath, pending: Pending) -> bool:
    pending.append((left.path, right.path))
    return left.fs is right.fs and not isinstance(left.fs, MemoryFiles)


@EQUAL.of(Secret)
def _secrets(left: Secret, right: Secret, pending: Pending) -> bool:
    return hmac.compare_digest(left.reveal() or b"", right.reveal() or b"")


@EQUAL.of(Thunk)
def _thunks(left: Thunk, right: Thunk, pending: Pending) -> bool:
    """Compare the encodings of thunks. A thunk that can't be encoded only equals itself."""
    try:
        return encoded_thunk(left, strict=False) == encoded_thunk(right, strict=False)
    except BassError:
        return False
