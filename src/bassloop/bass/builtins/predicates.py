"""Predicates, which test the types of values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass.combiner import Builtin, Operative
from bassloop.bass.path import Path
from bassloop.bass.registry import TABLE, builtin
from bassloop.bass.stream import Sink, Source
from bassloop.bass.thunk import Thunk
from bassloop.bass.values import (
    EMPTY,
    IGNORE,
    Bind,
    Cell,
    Combiner,
    Keyword,
    Scope,
    Symbol,
    Value,
    is_list,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.machine import Machine

PREDICATES: list[str] = []


def _predicate(name: str, doc: str, test: Callable[[Value], bool]) -> None:
    def ask(args: list[Value], scope: Scope, machine: Machine) -> bool:
        return test(plain(args[0]))

    ask.__doc__ = doc
    builtin(name, "[val]")(ask)
    PREDICATES.append(name)


def is_empty(value: Value) -> bool:
    """Return whether a value is an empty list, string, scope or bind form, or null."""
    value = plain(value)
    if value is None or value is EMPTY or value == "":
        return True
    if value.__class__ is Scope:
        return not value.vars and not value.names()
    return value.__class__ is Bind and not value.members


def _is_operative(value: Value) -> bool:
    return value.operative if isinstance(value, Builtin) else isinstance(value, Operative)


_predicate("null?", "Returns whether the value is null.\n\n=> (null? null)", lambda v: v is None)
_predicate("ignore?", "Returns whether the value is _.\n\n=> (ignore? _)", lambda v: v is IGNORE)
_predicate(
    "boolean?",
    "Returns whether the value is true or false.\n\n=> (boolean? false)",
    lambda v: isinstance(v, bool),
)
_predicate(
    "number?",
    "Returns whether the value is a number.\n\n=> (number? 42)",
    lambda v: v.__class__ is int,
)
_predicate(
    "string?",
    'Returns whether the value is a string.\n\n=> (string? "hey")',
    lambda v: v.__class__ is str,
)
_predicate(
    "symbol?",
    "Returns whether the value is a symbol.\n\n=> (symbol? :hey)",
    lambda v: v.__class__ is Symbol,
)
_predicate(
    "keyword?",
    "Returns whether the value is a keyword, unevaluated.\n\n=> (keyword? (quote :hey))",
    lambda v: v.__class__ is Keyword,
)
_predicate(
    "scope?",
    "Returns whether the value is a scope.\n\n=> (scope? {:a 1})",
    lambda v: v.__class__ is Scope,
)
_predicate(
    "sink?",
    "Returns whether values can be emitted to the value.\n\n=> (sink? *stdout*)",
    lambda v: isinstance(v, Sink),
)
_predicate(
    "source?",
    "Returns whether values can be read from the value with [next].\n\n=> (source? *stdin*)",
    lambda v: isinstance(v, Source),
)
_predicate(
    "list?", "Returns whether the value is a list, empty or not.\n\n=> (list? [1 2])", is_list
)
_predicate(
    "pair?",
    "Returns whether the value is a pair, as every list is that isn't empty.\n\n=> (pair? [1])",
    lambda v: isinstance(v, Cell),
)
_predicate(
    "applicative?",
    "Returns whether the value is a combiner that evaluates its operands.\n\n=> (applicative? map)",
    lambda v: isinstance(v, Combiner) and v.applicative,
)
_predicate(
    "operative?",
    "Returns whether the value is a combiner that takes its operands as written.\n\n=> (operative? if)",
    _is_operative,
)
_predicate(
    "combiner?",
    "Returns whether the value can be called.\n\n=> (combiner? if)",
    lambda v: isinstance(v, Combiner),
)
_predicate(
    "path?",
    "Returns whether the value is a path.\n\n=> (path? ./here)",
    lambda v: isinstance(v, Path),
)
_predicate(
    "empty?",
    "Returns whether the value is an empty list, string or scope, or null.\n\n=> (empty? [])",
    is_empty,
)
_predicate(
    "thunk?",
    "Returns whether the value is a thunk.\n\n=> (thunk? ($ echo hey))",
    lambda v: isinstance(v, Thunk),
)


@builtin("not", "[x]")
def not_(args: list[Value], scope: Scope, machine: Machine) -> bool:
    """Returns true for false and null, and false for everything else.

    => (not null)
    """
    value = plain(args[0])
    return value is None or value is False


def predicates_of(value: Value) -> list[str]:
    """Return the names of the predicates that are true of a value, as `doc` lists them."""
    bare = plain(value)
    return [name for name in PREDICATES if TABLE[name].function([bare], Scope(), None)]  # type: ignore[arg-type]
