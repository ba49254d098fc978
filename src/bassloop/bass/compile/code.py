"""Compiling forms, except combinations and path forms (see `combination.py`).

`COMPILED` has a method for each class of form. Any other value evaluates to itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bassloop.bass.errors import BassError, Unbound, bad_syntax, brief
from bassloop.bass.values import (
    EMPTY,
    FOR_NOW,
    MISSING,
    Bind,
    Cell,
    Cons,
    Keyword,
    Located,
    Methods,
    Object,
    Pair,
    Scope,
    Symbol,
    WithMeta,
    end_of,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bassloop.bass.machine import Code, Machine
    from bassloop.bass.source_text import Range
    from bassloop.bass.values import Value

Compile: TypeAlias = "Callable[[Any, bool, Range | None], Code]"
"""A method of `COMPILED`, called with the form, whether it's in tail position, and its range if that's known."""

COMPILED: Final[Methods[Compile]] = Methods()
"""The compilers of forms, by class."""


def code(form: Value, tail: bool = False) -> Code:
    """Return a form's code, which is compiled the first time. In tail position, it may return `TAIL`."""
    if not isinstance(form, Object):
        return lambda scope, machine: form
    cls = form.__class__
    if cls is Located or cls is Pair:
        try:
            return form.compiled_tail if tail else form.compiled  # type: ignore[attr-defined,no-any-return]
        except AttributeError:
            made = COMPILED[cls](form, tail, None)
            if tail:
                form.compiled_tail = made  # type: ignore[attr-defined]
            else:
                form.compiled = made  # type: ignore[attr-defined]
            return made
    if cls is Cons or cls is Bind:
        try:
            return form.compiled  # type: ignore[attr-defined,no-any-return]
        except AttributeError:
            made = form.compiled = COMPILED[cls](form, False, None)  # type: ignore[attr-defined]
            return made
    return COMPILED[cls](form, tail, None)


def body_code(forms: list[Value], tail: bool = True) -> Code:
    """Return code that evaluates forms in order, and returns the value of the last one (null if there are none)."""
    if not forms:
        return lambda scope, machine: None
    if len(forms) == 1:
        return code(forms[0], tail)
    if len(forms) == 2:
        before, after = code(forms[0]), code(forms[1], tail)

        def both(scope: Scope, machine: Machine) -> Value:
            before(scope, machine)
            return after(scope, machine)

        return both
    first = [code(form) for form in forms[:-1]]
    last = code(forms[-1], tail)

    def run(scope: Scope, machine: Machine) -> Value:
        for each in first:
            each(scope, machine)
        return last(scope, machine)

    return run


def lazy_code(forms: list[Value], tail: bool = True) -> Code:
    """Return the same as `body_code`, but compile the forms only when the code first runs."""
    made: Code | None = None

    def run(scope: Scope, machine: Machine) -> Value:
        nonlocal made
        if made is None:
            made = body_code(forms, tail)
        return made(scope, machine)

    return run


@COMPILED.of(Object)
def _constant(value: Object, tail: bool, span: Range | None) -> Code:
    return lambda scope, machine: value


@COMPILED.of(Keyword)
def _keyword(keyword: Keyword, tail: bool, span: Range | None) -> Code:
    symbol = Symbol(keyword.name)
    return lambda scope, machine: symbol


@COMPILED.of(Symbol)
def _symbol(symbol: Symbol, tail: bool, span: Range | None) -> Code:
    name = symbol.name

    def run(scope: Scope, machine: Machine) -> Value:
        at = scope
        while True:
            value = at.vars.get(name, MISSING)
            if value is not MISSING:
                return value
            parents = at.parents
            if len(parents) == 1:
                at = parents[0]
                continue
            value = at.get(name)
            if value is not MISSING:
                return value
            error = Unbound(name, scope)
            error.add_call(span)
            raise error

    return run


@COMPILED.of(Cons)
def _cons(form: Value, tail: bool, span: Range | None) -> Code:
    """Compile `[a b & rest]` to the list of the evaluated members, ended by the evaluated rest."""
    members: list[Value] = []
    while form.__class__ is Cons:
        members.append(form.a)
        form = form.d
    codes = [code(member) for member in members]
    if form is EMPTY:
        if len(codes) == 1:
            (only,) = codes
            return lambda scope, machine: Pair(only(scope, machine), EMPTY)
        if len(codes) == 2:
            first, second = codes
            return lambda scope, machine: Pair(
                first(scope, machine), Pair(second(scope, machine), EMPTY)
            )
    rest = code(form)

    def run(scope: Scope, machine: Machine) -> Value:
        values = [member(scope, machine) for member in codes]
        made = rest(scope, machine)
        while values:
            made = Pair(values.pop(), made)
        return made

    return run


@COMPILED.of(Bind)
def _bind(form: Bind, tail: bool, span: Range | None) -> Code:
    """Compile `{:key value parent}` to a scope that binds the keys; scopes among the members become its parents.

    The members are evaluated in a child of the current scope, which is then detached from it and returned. So functions
    that are made inside see only the bindings and parents of the new scope.
    """
    codes = [code(member) for member in form.members]

    def run(scope: Scope, machine: Machine) -> Scope:
        made = Scope({}, (scope,), FOR_NOW if scope.grounded else False)
        reified = machine.reified
        values = [member(made, machine) for member in codes]
        made.parents = ()
        made.grounded = False
        try:
            _fill(made, values, machine, may_be_ancestor=machine.reified != reified)
        except BassError as error:
            error.add_call(span)
            raise
        return made

    return run


def _fill(made: Scope, values: list[Value], machine: Machine, *, may_be_ancestor: bool) -> None:
    """Bind alternating symbols and values in a scope. A scope in place of a symbol becomes a parent."""
    index = 0
    count = len(values)
    while index < count:
        key = values[index]
        bare = plain(key)
        if bare.__class__ is Symbol:
            if index + 1 == count:
                raise bad_syntax(f"{{…}} has no value for :{bare.name}")
            value = values[index + 1]
            if key.__class__ is WithMeta:
                value = WithMeta(value, key.meta)
            made.vars[bare.name] = value
            if made.grounded:  # like `Machine.define`, but without a call
                machine.shadowed.add(bare.name)
            index += 2
        elif bare.__class__ is Scope:
            if may_be_ancestor and bare.descends_from(made):
                raise BassError("a scope can't be its own parent, or a parent of its parents")
            machine.add_parent(made, bare)
            index += 1
        else:
            raise bad_syntax(
                f"{{…}} takes keywords with values, and scopes; {brief(bare)} is neither"
            )


# --- forms with a range, comments and metadata ---


@COMPILED.of(Located)
def _located(form: Located, tail: bool, span: Range | None) -> Code:
    """Compile the form inside, with the range for errors."""
    inner = form.form
    cls = inner.__class__
    documents = form.comment or form.meta
    if not isinstance(inner, Object):
        made = code(inner)
    elif cls is Cons or cls is Located:
        made = code(inner, tail and not documents)
    else:
        made = COMPILED[cls](inner, tail and not documents, form.range)
    return _documented(form, made) if documents else made


def meta_code(form: Located) -> Code:
    """Return the code of a form's metadata: its `^` and, as `:doc`, the comment beside it."""
    members = form.meta or ()
    if form.comment:
        members = (*members, Keyword("doc"), form.comment)
    return _bind(Bind(members), False, None)


def _documented(form: Located, inner: Code) -> Code:
    """Return the code of a form with a comment or `^`, which adds them to the value as metadata.

    If the value is a symbol or a pattern, as `def` returns, each bound name in it is rebound to its value with the
    metadata and the form's position. That's how definitions are documented.
    """
    meta_of = meta_code(form)
    span = form.range

    def run(scope: Scope, machine: Machine) -> Value:
        value = inner(scope, machine)
        meta = meta_of(scope, machine)
        if value.__class__ is WithMeta:
            machine.add_parent(meta, value.meta)
            value = value.value
        for name in bound_names(value):
            found = scope.get(name)
            if found is MISSING:
                continue
            about = Scope({}, (meta,))
            locate(about, span)
            if found.__class__ is WithMeta:
                found = WithMeta(found.value, Scope({}, (found.meta, about)))
            else:
                found = WithMeta(found, about)
            machine.define(scope, name, found)
        return WithMeta(value, meta)

    return run


def bound_names(pattern: Value) -> Iterator[str]:
    """Yield the names that a pattern binds; none if the value isn't a pattern."""
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


def locate(meta: Scope, span: Range) -> None:
    """Add the position of a definition to its metadata."""
    meta.vars["file"] = span.source.file
    meta.vars["line"] = span.line
    meta.vars["column"] = span.column


# --- operands ---


def operands_of(form: Value) -> tuple[list[Value], Value]:
    """Return the unevaluated operands of a combination, and their end: the form after `&`, or the empty list."""
    members: list[Value] = []
    while form.__class__ is Pair:
        members.append(form.a)
        form = form.d
    return members, form


def evaluate_operands(operands: Value, scope: Scope, machine: Machine) -> tuple[list[Value], Value]:
    """Evaluate operands from left to right. Return the values and the end of their list, which is usually empty."""
    members, rest = operands_of(operands)
    args = [code(member)(scope, machine) for member in members]
    if rest is EMPTY:
        return args, EMPTY
    return args, end_of(code(rest)(scope, machine), args)
