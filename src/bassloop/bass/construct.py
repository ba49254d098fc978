"""What `[…]`, `{…}` and `^…` do when they are evaluated: they construct lists, scopes and metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import errors
from bassloop.bass.annotated import Located, WithMeta
from bassloop.bass.bind import Bind
from bassloop.bass.pair import Cons, Pair, end_of, plain
from bassloop.bass.registry import TABLE
from bassloop.bass.scope import MISSING, Scope
from bassloop.bass.symbol import Keyword, Symbol
from bassloop.bass.values import EMPTY, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.machine import Machine
    from bassloop.bass.values import Code


def cons_code(form: Cons) -> Code:
    """`[a b & rest]`: the list of the evaluated members, ended by the evaluated rest."""
    from bassloop.bass.compiler import code

    members: list[Value] = []
    cell: Value = form
    while cell.__class__ is Cons:
        members.append(cell.a)
        cell = cell.d
    codes = [code(member) for member in members]
    if cell is EMPTY:
        if len(codes) == 1:
            only = codes[0]
            return lambda scope, machine: Pair(only(scope, machine), EMPTY)
        if len(codes) == 2:
            first, second = codes
            return lambda scope, machine: Pair(
                first(scope, machine), Pair(second(scope, machine), EMPTY)
            )
    rest = None if cell is EMPTY else code(cell)

    def run(scope: Scope, machine: Machine) -> Value:
        values = [member(scope, machine) for member in codes]
        made: Value = EMPTY if rest is None else rest(scope, machine)
        while values:
            made = Pair(values.pop(), made)
        return made

    return run


def bind_code(form: Bind) -> Code:
    """`{:key value parent}`: a scope of the keys; scopes among the members become its parents.

    The members are evaluated in a child scope, which is then the result, cut off from where it was made: a
    function made inside sees the scope's own bindings and parents only.
    """
    from bassloop.bass.compiler import code

    codes = [code(member) for member in form.members]

    def run(scope: Scope, machine: Machine) -> Scope:
        made = Scope({}, (scope,), scope.grounded)
        values = [member(made, machine) for member in codes]
        made.parents = ()
        made.grounded = False
        fill(made, values, machine)
        return made

    return run


def fill(made: Scope, values: list[Value], machine: Machine) -> None:
    """Give a scope alternating symbols and values; a scope that stands alone becomes a parent."""
    index = 0
    count = len(values)
    while index < count:
        key = values[index]
        bare = plain(key)
        if bare.__class__ is Symbol:
            if index + 1 == count:
                raise errors.bad_syntax(f"{{…}} has no value for :{bare.name}")
            value = values[index + 1]
            if key.__class__ is WithMeta:
                value = WithMeta(value, key.meta)
            machine.define(made, bare.name, value)
            index += 2
        elif bare.__class__ is Scope:
            adopt(made, bare, machine)
            index += 1
        else:
            raise errors.bad_syntax(
                f"{{…}} takes keywords with values, and scopes; {errors.brief(bare)} is neither"
            )


def adopt(scope: Scope, parent: Scope, machine: Machine) -> None:
    """Make a scope a further parent of another."""
    scope.parents = (*scope.parents, parent)
    if len(scope.parents) == 1 and parent.grounded:
        scope.grounded = True
        machine.rebound.update(TABLE.keys() & scope.vars.keys())


def child_of(parents: tuple[Scope, ...]) -> Scope:
    """A new empty scope with these parents."""
    return Scope({}, parents, bool(parents) and parents[0].grounded)


def meta_code(form: Located) -> Code:
    """The metadata that a form carries: its `^` and, as `:doc`, the comment beside it."""
    members = form.meta or ()
    if form.comment:
        members = (*members, Keyword("doc"), form.comment)
    return bind_code(Bind(members))


def documented(form: Located, inner: Code, note: Callable[[Value], None] | None = None) -> Code:
    """Evaluate a form that carries a comment or `^`: its value gets the metadata.

    When the value is a symbol, or anything that could be a pattern, every name in it that is bound is bound
    again with the metadata, and with the place where the form stands: that is how definitions are documented.
    """
    from bassloop.bass.bindings import bound_names, locate

    meta_of = meta_code(form)
    place = form.range

    def run(scope: Scope, machine: Machine) -> Value:
        value = inner(scope, machine)
        meta = meta_of(scope, machine)
        if value.__class__ is WithMeta:
            adopt(meta, value.meta, machine)
            value = value.value
        for name in _bound_names(value):
            found = scope.get(name)
            if found is MISSING:
                continue
            about = Scope({}, (meta,))
            locate(about, place)
            if found.__class__ is WithMeta:
                found = WithMeta(found.value, Scope({}, (found.meta, about)))
            else:
                found = WithMeta(found, about)
            machine.define(scope, name, found)
        return WithMeta(value, meta)

    def _bound_names(value: Value) -> list[str]:
        cls = value.__class__
        if cls is Symbol:
            return [value.name]
        if cls is Pair or cls is Cons or cls is Bind or cls is Located:
            return list(bound_names(value))
        return []

    return run


def members_of(form: Value) -> tuple[list[Value], Value]:
    """The members of a form that is a list, and what ends it."""
    members: list[Value] = []
    return members, end_of(form, members)
