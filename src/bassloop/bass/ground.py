"""Ground: the scope that every script descends from, and what modules of std see beside it."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Final

from bassloop.bass.annotated import WithMeta
from bassloop.bass.combiner import Builtin, Wrapped
from bassloop.bass.reader import read_source
from bassloop.bass.registry import INTERNAL, TABLE
from bassloop.bass.scope import Scope
from bassloop.bass.thunk import SCRATCH
from bassloop.bass.values import strip

if TYPE_CHECKING:
    from bassloop.bass.registry import BuiltinDefinition
    from bassloop.bass.values import Value

_MODULES: Final = (
    "control", "combiners", "running", "paths", "thunks", "scoping", "scopes", "predicates", "numbers", "lists",
    "streams", "strings", "memos", "commands",
)  # fmt: skip


@cache
def ground() -> Scope:
    """The one Ground of the process. Nothing may be bound in it: scripts run in scopes below it."""
    for name in _MODULES:
        import_module(f"bassloop.bass.builtins.{name}")
    made = Scope({name: _value(definition) for name, definition in TABLE.items()}, (), True)
    made.vars["scratch"] = WithMeta(SCRATCH, Scope({"doc": "a thunk without anything"}))
    made.name = "ground"
    return made


@cache
def internal() -> Scope:
    """What modules of std see beside Ground. It carries no documentation: the modules' own comments count."""
    above = ground()  # which fills the table
    return Scope(
        {name: strip(_value(definition)) for name, definition in INTERNAL.items()}, (above,), True
    )


def _value(definition: BuiltinDefinition) -> Value:
    formals = read_source(definition.formals, definition.name)[0].form
    made: Value = Builtin(
        definition.shown,
        formals,
        definition.function,
        definition.least,
        definition.most,
        definition.operative,
        definition.dotted,
    )
    if not definition.operative:
        made = Wrapped(made)
    about: dict[str, Value] = {"doc": definition.doc}
    if definition.indent:
        about["indent"] = True
    if definition.name == "append":
        about["deprecated"] = "Use [concat] instead."
    return WithMeta(made, Scope(about))
