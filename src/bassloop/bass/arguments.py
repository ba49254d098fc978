"""What builtins ask of their arguments: the bare value if it is of the type needed, an error otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import errors
from bassloop.bass.combiner import Applicative, Combiner
from bassloop.bass.pair import end_of
from bassloop.bass.scope import Scope
from bassloop.bass.symbol import Keyword, Symbol
from bassloop.bass.values import EMPTY

if TYPE_CHECKING:
    from bassloop.bass.values import Value


def integer(value: Value, who: str) -> int:
    """A number."""
    if value.__class__ is not int:
        value = bare(value)
        if value.__class__ is not int:
            raise errors.wrong_type(value, "number", who)
    return value


def text(value: Value, who: str) -> str:
    """A string."""
    if value.__class__ is not str:
        value = bare(value)
        if value.__class__ is not str:
            raise errors.wrong_type(value, "string", who)
    return value


def symbol(value: Value, who: str) -> str:
    """A symbol's name."""
    value = bare(value)
    if value.__class__ is not Symbol:
        raise errors.wrong_type(value, "symbol", who)
    return value.name


def keyword(value: Value, who: str) -> str:
    """A keyword's name."""
    value = bare(value)
    if value.__class__ is not Keyword:
        raise errors.wrong_type(value, "keyword", who)
    return value.name


def scope(value: Value, who: str) -> Scope:
    """A scope."""
    if value.__class__ is not Scope:
        value = bare(value)
        if value.__class__ is not Scope:
            raise errors.wrong_type(value, "scope", who)
    return value


def combiner(value: Value, who: str) -> Combiner:
    """Something to call."""
    value = bare(value)
    if not isinstance(value, Combiner):
        raise errors.wrong_type(value, "combiner", who)
    return value


def applicative(value: Value, who: str) -> Applicative:
    """Something to call with evaluated arguments."""
    value = bare(value)
    if not isinstance(value, Applicative):
        raise errors.wrong_type(value, "applicative", who)
    return value


def items(value: Value, who: str) -> list[Value]:
    """The members of a list."""
    members: list[Value] = []
    if end_of(value, members) is not EMPTY:
        raise errors.wrong_type(value, "list", who)
    return members


def boolean(value: Value, who: str) -> bool:
    """True or false; null counts as false."""
    value = bare(value)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise errors.wrong_type(value, "boolean", who)
    return value


def bare(value: Value) -> Value:
    """A value without metadata and what the reader noted."""
    from bassloop.bass.pair import plain

    return plain(value) if not isinstance(value, int | str) else value
