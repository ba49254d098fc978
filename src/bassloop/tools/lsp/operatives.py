"""The effects of Ground's operatives on the names in their operands."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from bassloop.bass.builtins.paths import stem
from bassloop.bass.path import CommandPath, ExtendPath
from bassloop.bass.reference import formals_text
from bassloop.bass.values import Bind, Cell, Located, Pair, Symbol, plain
from bassloop.tools.lsp.text_model import CallSite, Module, TextSpan, listed, threaded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bassloop.bass.values import Value
    from bassloop.tools.lsp.text_model import Context, LexicalScope
    from bassloop.tools.lsp.walk import Walk

    Handler = Callable[[Walk, CallSite], None]


def _def(walk: Walk, call: CallSite) -> None:
    if not call.operands:
        return
    pattern, *values = call.operands
    made = walk.pattern(
        pattern, call.scope, call.context, kind="value", whole=call.span, doc=call.doc
    )
    if len(made) == 1 and values and plain(pattern).__class__ is Symbol:
        walk.describe(made[0], values[0], call.scope, call.context)
        members = _members(walk, values[0], call.scope, call.context)
        if members is not None:
            made[0].members, made[0].kind = members, "data"
            return
    walk.forms(values, call.scope, call.context)


def _members(
    walk: Walk, value: Value, scope: LexicalScope, context: Context
) -> LexicalScope | None:
    """Return the scope of a value that is written as `{…}`, or None."""
    bare = plain(value)
    if value.__class__ is Located and bare.__class__ is Bind:
        return walk.bind(bare, scope, context, walk.span(value))
    return None


def _combiner(walk: Walk, call: CallSite, *, named: bool, operative: bool) -> None:
    operands = list(call.operands)
    if named and operands:
        made = walk.pattern(
            operands.pop(0),
            call.scope,
            call.context,
            kind="operative" if operative else "function",
            whole=call.span,
            doc=call.doc,
        )
        for each in made:
            each.formals = formals_text(operands[0]) if operands else None
    inner = walk.child(call.scope, call.span)
    for _ in range(2 if operative else 1):
        if operands:
            walk.pattern(operands.pop(0), inner, call.context)
    walk.forms(operands, inner, call.context)


def _let(walk: Walk, call: CallSite) -> None:
    if not call.operands:
        return
    inner = walk.child(call.scope, call.span)
    bindings = _list(call.operands[0])
    for pattern, value in zip(bindings[::2], bindings[1::2], strict=False):
        _binding(walk, pattern, value, inner, call.context)
    walk.forms(call.operands[1:], inner, call.context)


def _binding(
    walk: Walk, pattern: Value, value: Value, scope: LexicalScope, context: Context
) -> None:
    made = walk.pattern(pattern, scope, context, kind="value")
    if len(made) == 1 and plain(pattern).__class__ is Symbol:
        walk.describe(made[0], value, scope, context)
        members = _members(walk, value, scope, context)
        if members is not None:
            made[0].members, made[0].kind = members, "data"
            return
    walk.form(value, scope, context)


def _for(walk: Walk, call: CallSite) -> None:
    if not call.operands:
        return
    inner = walk.child(call.scope, call.span)
    bindings = _list(call.operands[0])
    for pattern in bindings[::2]:
        walk.pattern(pattern, inner, call.context)
    walk.forms(bindings[1::2], call.scope, call.context)
    walk.forms(call.operands[1:], inner, call.context)


def _case(walk: Walk, call: CallSite) -> None:
    walk.forms(call.operands[:1], call.scope, call.context)
    for pattern, body in zip(call.operands[1::2], call.operands[2::2], strict=False):
        span = call.span
        if pattern.__class__ is Located and body.__class__ is Located:
            span = TextSpan(walk.span(pattern).start, walk.span(body).end)
        inner = walk.child(call.scope, span)
        walk.pattern(pattern, inner, call.context)
        walk.form(body, inner, call.context)


def _quote(walk: Walk, call: CallSite) -> None:
    walk.forms(call.operands, call.scope, walk.quoted)


def _evaluate_all(walk: Walk, call: CallSite) -> None:
    walk.forms(call.operands, call.scope, call.context)


def _import(walk: Walk, call: CallSite) -> None:
    walk.forms(call.operands[:1], call.scope, call.context)
    for name in call.operands[1:]:
        walk.pattern(name, call.scope, call.context, kind="value")


def _provide(walk: Walk, call: CallSite) -> None:
    if not call.operands:
        return
    inner = walk.child(call.scope, call.span)
    for name in _list(call.operands[0]):
        walk.form(name, inner, call.context)
        for made in walk.pattern(name, call.scope, call.context, kind="value"):
            made.inside = inner
    walk.forms(call.operands[1:], inner, call.context)


def _module(walk: Walk, call: CallSite) -> None:
    if not call.operands:
        return
    inner = walk.child(call.scope, call.span)
    walk.form(call.operands[0], inner, call.context)
    walk.forms(call.operands[1:], inner, call.context)


def _use(walk: Walk, call: CallSite) -> None:
    for operand in call.operands:
        walk.form(operand, call.scope, call.context)
        bare = plain(operand)
        head = bare.a if bare.__class__ is Pair else None
        command = plain(head)
        if head.__class__ is not Located or not walk.is_token(head):
            call.scope.is_open = True
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
            call.scope.is_open = True
            continue
        if name:
            walk.define(name, span, call.span, "module", call.scope, module=module)


def _thread(walk: Walk, call: CallSite) -> None:
    if not call.operands:
        return
    form = threaded(call.operands)
    bare = plain(form)
    if form is call.operands[0] or bare.__class__ is not Pair:
        walk.form(form, call.scope, call.context)
    else:
        walk.call(bare, call.scope, call.context, call.doc, call.span)


def _command(walk: Walk, call: CallSite) -> None:
    for operand in call.operands:
        walk.word(operand, call.scope, call.context)


def _glob(walk: Walk, call: CallSite) -> None:
    patterns = [each for each in call.operands if plain(each) != Symbol("!")]
    walk.forms(patterns, call.scope, call.context)


def _list(form: Value) -> list[Value]:
    """Return the members of a list; none if the form isn't one."""
    bare = plain(form)
    return listed(bare) if isinstance(bare, Cell) else []


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
        ("do", "or", "and", "when", "cond", "if", "assert", "refute", "doc", "linux"),
        _evaluate_all,
    ),
    "current-scope": _evaluate_all,
    "import": _import,
    "provide": _provide,
    "module": _module,
    "use": _use,
    "->": _thread,
    "$": _command,
    "$$": _command,
    "glob": _glob,
}
"""The handlers of Ground's operatives."""
