"""What the operatives of Ground do with the names in their operands."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from bassloop.bass.annotated import Located
from bassloop.bass.bind import Bind
from bassloop.bass.builtins.paths import stem
from bassloop.bass.pair import Cell, Pair, plain
from bassloop.bass.path import CommandPath, ExtendPath
from bassloop.bass.reference import formals_text
from bassloop.bass.symbol import Symbol
from bassloop.tools.lsp.forms import listed, threaded
from bassloop.tools.lsp.model import Module, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bassloop.bass.values import Value
    from bassloop.tools.lsp.model import Context, Scope
    from bassloop.tools.lsp.walk import Walk

    Handler = Callable[[Walk, list[Value], Scope, Context, str, Span], None]


def _def(
    walk: Walk, operands: list[Value], scope: Scope, context: Context, doc: str, place: Span
) -> None:
    if not operands:
        return
    pattern, *values = operands
    made = walk.pattern(pattern, scope, context, kind="value", whole=place, doc=doc)
    if len(made) == 1 and values and plain(pattern).__class__ is Symbol:
        walk.describe(made[0], values[0], scope, context)
        members = _members(walk, values[0], scope, context)
        if members is not None:
            made[0].members, made[0].kind = members, "data"
            return
    walk.forms(values, scope, context)


def _members(walk: Walk, value: Value, scope: Scope, context: Context) -> Scope | None:
    """The scope that a value is, if it is written out as `{…}`."""
    bare = plain(value)
    if value.__class__ is Located and bare.__class__ is Bind:
        return walk.bind(bare, scope, context, walk.span(value))
    return None


def _combiner(
    walk: Walk,
    operands: list[Value],
    scope: Scope,
    context: Context,
    doc: str,
    place: Span,
    *,
    named: bool,
    operative: bool,
) -> None:
    operands = list(operands)
    if named and operands:
        kind = "operative" if operative else "function"
        name = operands.pop(0)
        made = walk.pattern(name, scope, context, kind=kind, whole=place, doc=doc)  # type: ignore[arg-type]
        for each in made:
            each.formals = formals_text(operands[0]) if operands else None
    inner = walk.child(scope, place)
    for _ in range(2 if operative else 1):
        if operands:
            walk.pattern(operands.pop(0), inner, context)
    walk.forms(operands, inner, context)


def _let(
    walk: Walk, operands: list[Value], scope: Scope, context: Context, doc: str, place: Span
) -> None:
    if not operands:
        return
    inner = walk.child(scope, place)
    members = listed(plain(operands[0])) if isinstance(plain(operands[0]), Cell) else []
    for pattern, value in zip(members[::2], members[1::2], strict=False):
        _bound(walk, pattern, value, inner, context)
    walk.forms(operands[1:], inner, context)


def _bound(walk: Walk, pattern: Value, value: Value, scope: Scope, context: Context) -> None:
    made = walk.pattern(pattern, scope, context, kind="value")
    if len(made) == 1 and plain(pattern).__class__ is Symbol:
        walk.describe(made[0], value, scope, context)
        members = _members(walk, value, scope, context)
        if members is not None:
            made[0].members, made[0].kind = members, "data"
            return
    walk.form(value, scope, context)


def _for(
    walk: Walk, operands: list[Value], scope: Scope, context: Context, doc: str, place: Span
) -> None:
    if not operands:
        return
    inner = walk.child(scope, place)
    members = listed(plain(operands[0])) if isinstance(plain(operands[0]), Cell) else []
    for pattern in members[::2]:
        walk.pattern(pattern, inner, context)
    walk.forms(members[1::2], scope, context)
    walk.forms(operands[1:], inner, context)


def _case(
    walk: Walk, operands: list[Value], scope: Scope, context: Context, doc: str, place: Span
) -> None:
    walk.forms(operands[:1], scope, context)
    for pattern, body in zip(operands[1::2], operands[2::2], strict=False):
        inner = walk.child(scope, _around(walk, pattern, body, place))
        walk.pattern(pattern, inner, context)
        walk.form(body, inner, context)


def _around(walk: Walk, first: Value, last: Value, otherwise: Span) -> Span:
    """From the beginning of one form to the end of another."""
    if first.__class__ is Located and last.__class__ is Located:
        return Span(walk.span(first).start, walk.span(last).end)
    return otherwise


def _quote(
    walk: Walk, operands: list[Value], scope: Scope, context: Context, doc: str, place: Span
) -> None:
    walk.forms(operands, scope, walk.quoted)


def _all(
    walk: Walk, operands: list[Value], scope: Scope, context: Context, doc: str, place: Span
) -> None:
    walk.forms(operands, scope, context)


def _import(
    walk: Walk, operands: list[Value], scope: Scope, context: Context, doc: str, place: Span
) -> None:
    walk.forms(operands[:1], scope, context)
    for name in operands[1:]:
        walk.pattern(name, scope, context, kind="value")


def _provide(
    walk: Walk, operands: list[Value], scope: Scope, context: Context, doc: str, place: Span
) -> None:
    if not operands:
        return
    inner = walk.child(scope, place)
    names = listed(plain(operands[0])) if isinstance(plain(operands[0]), Cell) else []
    for name in names:
        walk.form(name, inner, context)
        for made in walk.pattern(name, scope, context, kind="value"):
            made.inside = inner
    walk.forms(operands[1:], inner, context)


def _module(
    walk: Walk, operands: list[Value], scope: Scope, context: Context, doc: str, place: Span
) -> None:
    if not operands:
        return
    inner = walk.child(scope, place)
    walk.form(operands[0], inner, context)
    walk.forms(operands[1:], inner, context)


def _use(
    walk: Walk, operands: list[Value], scope: Scope, context: Context, doc: str, place: Span
) -> None:
    for operand in operands:
        walk.form(operand, scope, context)
        bare = plain(operand)
        head = bare.a if bare.__class__ is Pair else None
        command = plain(head)
        if head.__class__ is not Located or not walk.is_token(head):
            scope.is_open = True
            continue
        span = walk.span(head)
        if isinstance(command, CommandPath):
            module, name = Module(std=command.command), stem(command.command)
        elif isinstance(command, ExtendPath):
            token = walk.text[span.start : span.end]
            root, _, rest = token.partition("/")
            last = rest.rstrip("/").rpartition("/")[2]
            name = stem(last)
            module = Module(file=rest) if root == "*dir*" else Module()
        else:
            scope.is_open = True
            continue
        if name:
            walk.define(name, span, place, "module", scope, module=module)


def _thread(
    walk: Walk, operands: list[Value], scope: Scope, context: Context, doc: str, place: Span
) -> None:
    if not operands:
        return
    form = threaded(operands)
    bare = plain(form)
    if form is operands[0] or bare.__class__ is not Pair:
        walk.form(form, scope, context)
    else:
        walk.call(bare, scope, context, doc, place)


def _command(
    walk: Walk, operands: list[Value], scope: Scope, context: Context, doc: str, place: Span
) -> None:
    for operand in operands:
        walk.word(operand, scope, context)


def _glob(
    walk: Walk, operands: list[Value], scope: Scope, context: Context, doc: str, place: Span
) -> None:
    walk.forms([each for each in operands if plain(each) != Symbol("!")], scope, context)


HANDLERS: Final[Mapping[str, Handler]] = {
    "def": _def,
    "defn": partial(_combiner, named=True, operative=False),
    "defop": partial(_combiner, named=True, operative=True),
    "fn": partial(_combiner, named=False, operative=False),
    "curryfn": partial(_combiner, named=False, operative=False),
    "op": partial(_combiner, named=False, operative=True),
    "let": _let,
    "for": _for,
    "case": _case,
    "quote": _quote,
    **dict.fromkeys(
        ("do", "or", "and", "when", "cond", "if", "assert", "refute", "doc", "linux"), _all
    ),
    "current-scope": _all,
    "import": _import,
    "provide": _provide,
    "module": _module,
    "use": _use,
    "->": _thread,
    "$": _command,
    "$$": _command,
    "glob": _glob,
}
"""Every operative of Ground, with what it does."""
