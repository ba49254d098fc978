"""Checks of the types of builtins' arguments.

Each function returns the value without wrappers, or raises a `BassError` that states the type it needs. `where` is the
builtin's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass.errors import wrong_type
from bassloop.bass.path import DirPath, FilePath, Path
from bassloop.bass.thunk import Thunk
from bassloop.bass.values import EMPTY, Combiner, Keyword, Scope, Symbol, end_of, plain

if TYPE_CHECKING:
    from bassloop.bass.path import NamePath
    from bassloop.bass.values import Value


def integer(value: Value, where: str) -> int:
    """Return a number."""
    if value.__class__ is not int:
        value = plain(value)
        if value.__class__ is not int:
            raise wrong_type(value, "number", where)
    return value


def text(value: Value, where: str) -> str:
    """Return a string."""
    if value.__class__ is not str:
        value = plain(value)
        if value.__class__ is not str:
            raise wrong_type(value, "string", where)
    return value


def boolean(value: Value, where: str) -> bool:
    """Return true or false; null counts as false."""
    value = plain(value)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise wrong_type(value, "boolean", where)
    return value


def symbol(value: Value, where: str) -> str:
    """Return the name of a symbol."""
    value = plain(value)
    if value.__class__ is not Symbol:
        raise wrong_type(value, "symbol", where)
    return value.name


def keyword(value: Value, where: str) -> str:
    """Return the name of a keyword."""
    value = plain(value)
    if value.__class__ is not Keyword:
        raise wrong_type(value, "keyword", where)
    return value.name


def scope(value: Value, where: str) -> Scope:
    """Return a scope."""
    if value.__class__ is not Scope:
        value = plain(value)
        if value.__class__ is not Scope:
            raise wrong_type(value, "scope", where)
    return value


def items(value: Value, where: str) -> list[Value]:
    """Return the members of a list."""
    members: list[Value] = []
    if end_of(value, members) is not EMPTY:
        raise wrong_type(value, "list", where)
    return members


def combiner(value: Value, where: str) -> Combiner:
    """Return something that can be called."""
    value = plain(value)
    if not isinstance(value, Combiner):
        raise wrong_type(value, "combiner", where)
    return value


def applicative(value: Value, where: str) -> Combiner:
    """Return something that evaluates its operands when it is called."""
    value = plain(value)
    if not isinstance(value, Combiner) or not value.applicative:
        raise wrong_type(value, "applicative", where)
    return value


def path(value: Value, where: str) -> Path:
    """Return a path of any kind."""
    value = plain(value)
    if not isinstance(value, Path):
        raise wrong_type(value, "path", where)
    return value


def file_path(value: Value, where: str) -> FilePath:
    """Return the path of a file that is only a name."""
    value = plain(value)
    if not isinstance(value, FilePath):
        raise wrong_type(value, "file path like ./this", where)
    return value


def name_path(value: Value, where: str) -> NamePath:
    """Return the path of a file or directory that is only a name."""
    value = plain(value)
    if not isinstance(value, FilePath | DirPath):
        raise wrong_type(value, "path like ./this or ./this/", where)
    return value


def thunk(value: Value, where: str) -> Thunk:
    """Return a thunk."""
    value = plain(value)
    if not isinstance(value, Thunk):
        raise wrong_type(value, "thunk", where)
    return value
