"""Checks of the types of builtins' arguments.

Each function returns the value without wrappers, or raises a `BassError` that states the type it needs. `where` is the
builtin's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from bassloop.bass.errors import wrong_type
from bassloop.bass.path import DirPath, FilePath, HostPath, Path
from bassloop.bass.stream import Sink, Source
from bassloop.bass.thunk import Thunk
from bassloop.bass.values import EMPTY, Combiner, Keyword, Scope, Symbol, end_of, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bassloop.bass.path import NamePath
    from bassloop.bass.values import Value

T = TypeVar("T")
Check: TypeAlias = "Callable[[Value, str], Any]"

SymbolName: TypeAlias = str
"""The name of an argument that must be a symbol."""

KeywordName: TypeAlias = str
"""The name of an argument that must be a keyword."""

ApplicativeCombiner: TypeAlias = Combiner
"""An argument that must be a combiner that evaluates its operands."""


def _instance_of(cls: type[T], need: str) -> Callable[[Value, str], T]:
    """Return the function that checks for instances of a class; `need` is their name in messages."""

    def check(value: Value, where: str) -> T:
        if not isinstance(value, cls):
            value = plain(value)
            if not isinstance(value, cls):
                raise wrong_type(value, need, where)
        return value

    return check


text: Final = _instance_of(str, "string")
scope: Final = _instance_of(Scope, "scope")
combiner: Final = _instance_of(Combiner, "combiner")
thunk: Final = _instance_of(Thunk, "thunk")
path: Final = _instance_of(Path, "path")
file_path: Final = _instance_of(FilePath, "file path like ./this")
host_path: Final = _instance_of(HostPath, "path of a file on this machine")
source: Final = _instance_of(Source, "source")
sink: Final = _instance_of(Sink, "sink")
_symbol: Final = _instance_of(Symbol, "symbol")
_keyword: Final = _instance_of(Keyword, "keyword")


def integer(value: Value, where: str) -> int:
    """Return a number."""
    if value.__class__ is not int:
        value = plain(value)
        if value.__class__ is not int:
            raise wrong_type(value, "number", where)
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
    return _symbol(value, where).name


def keyword(value: Value, where: str) -> str:
    """Return the name of a keyword."""
    return _keyword(value, where).name


def items(value: Value, where: str) -> list[Value]:
    """Return the members of a list."""
    members: list[Value] = []
    if end_of(value, members) is not EMPTY:
        raise wrong_type(value, "list", where)
    return members


def applicative(value: Value, where: str) -> Combiner:
    """Return a combiner that evaluates its operands."""
    value = plain(value)
    if not isinstance(value, Combiner) or not value.applicative:
        raise wrong_type(value, "applicative", where)
    return value


def name_path(value: Value, where: str) -> NamePath:
    """Return the path of a file or directory that is only a name."""
    value = plain(value)
    if not isinstance(value, FilePath | DirPath):
        raise wrong_type(value, "path like ./this or ./this/", where)
    return value


def texts(value: Value, where: str) -> list[str]:
    """Return the members of a list of strings."""
    return [text(each, where) for each in items(value, where)]


def anything(value: Value, where: str) -> Value:
    """Return the value, with its wrappers."""
    return value


CHECKS: Final[Mapping[str, Check]] = {
    "ApplicativeCombiner": applicative,
    "Combiner": combiner,
    "FilePath": file_path,
    "HostPath": host_path,
    "KeywordName": keyword,
    "NamePath": name_path,
    "Path": path,
    "Scope": scope,
    "Sink": sink,
    "Source": source,
    "SymbolName": symbol,
    "Thunk": thunk,
    "Value": anything,
    "bool": boolean,
    "int": integer,
    "list[Value]": items,
    "list[str]": texts,
    "str": text,
}
"""The check of a builtin's argument, by the annotation of its parameter (`registry.function`)."""
