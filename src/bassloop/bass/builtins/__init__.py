"""Ground, the scope that every script descends from, and the internal builtins, which only modules of std see.

The builtins are in this package's modules, by subject. Importing one fills the table (`registry.py`).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from bassloop.bass.builtins import (
    binding,
    commands,
    control,
    effects,
    lists_and_scopes,
    memos,
    numbers_and_strings,
    paths,
    predicates,
    streams,
    thunks,
)
from bassloop.bass.combiner import Applicative, Builtin
from bassloop.bass.compile import combination  # noqa: F401 - registers how combinations are compiled
from bassloop.bass.reader import read_source
from bassloop.bass.registry import INTERNAL, TABLE
from bassloop.bass.thunk import SCRATCH
from bassloop.bass.values import Combiner, Scope, WithMeta

if TYPE_CHECKING:
    from bassloop.bass.registry import BuiltinDefinition
    from bassloop.bass.values import Value

_ORDER: Final = (
    control, binding, paths, predicates, thunks, effects, lists_and_scopes, numbers_and_strings, streams, memos,
    commands,
)  # fmt: skip
"""The modules of builtins in the order in which Ground lists their names, which scripts can see."""


@cache
def ground() -> Scope:
    """Return Ground, of which a process has one. Bind nothing in it: scripts run in scopes below it."""
    order = {module.__name__: place for place, module in enumerate(_ORDER)}
    definitions = sorted(TABLE.values(), key=lambda each: order[each.function.__module__])
    made = Scope({each.name: _documented(each) for each in definitions}, (), True)
    made.vars["scratch"] = WithMeta(SCRATCH, Scope({"doc": "The empty thunk."}))
    made.name = "ground"
    return made


@cache
def internal() -> Scope:
    """Return the scope that modules of std descend from. It adds the internal builtins, without documentation."""
    return Scope({name: _combiner(each) for name, each in INTERNAL.items()}, (ground(),), True)


def _combiner(definition: BuiltinDefinition) -> Combiner:
    made = Builtin(
        definition.shown,
        read_source(definition.formals, definition.name)[0].form,
        definition.function,
        definition.least,
        definition.most,
        definition.operative,
        definition.dotted,
    )
    return made if definition.operative else Applicative(made)


def _documented(definition: BuiltinDefinition) -> Value:
    about: dict[str, Value] = {"doc": definition.doc}
    if definition.indent:
        about["indent"] = True
    if definition.deprecated:
        about["deprecated"] = definition.deprecated
    return WithMeta(_combiner(definition), Scope(about))
