"""Find the scopes, definitions and references in the forms of a text.

Forms to visit are in a list instead of on the stack, so nesting can be arbitrarily deep. The order doesn't matter,
since names are resolved after everything was visited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bassloop.bass.path import ExtendPath
from bassloop.bass.reference import formals_text
from bassloop.bass.values import Bind, Cell, Keyword, Located, Pair, Symbol, plain
from bassloop.tools.lsp.text_model import (
    CallSite,
    Context,
    Definition,
    LexicalScope,
    Reference,
    TextSpan,
    listed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bassloop.bass.values import Value
    from bassloop.tools.lsp.text_model import Kind

MAX_CONTEXT: Final = 500
"""The maximum nesting of calls; nothing is reported in deeper ones."""


class Walk:
    """A walk through the forms of a text.

    The results are `scopes` (the first is that of the whole text), `definitions` and `references`.

    Args:
        handlers: the handlers of Ground's operatives, by name.
        names_taken: the operatives that the text rebinds.
    """

    def __init__(
        self,
        text: str,
        forms: Iterable[Located],
        handlers: Mapping[str, Callable[[Walk, CallSite], None]],
        names_taken: frozenset[str],
    ) -> None:
        self.text = text
        self._handlers = handlers
        self.top = LexicalScope(TextSpan(0, len(text)))
        self.scopes = [self.top]
        self.definitions: list[Definition] = []
        self.references: list[Reference] = []
        self._taken = names_taken
        self._todo: list[Callable[[], None]] = []
        self.quoted = Context()
        context = Context(sure=True)
        for form in forms:
            self.form(form, self.top, context)
            while self._todo:
                self._todo.pop()()

    # --- forms ---

    def form(self, form: Value, scope: LexicalScope, context: Context, doc: str = "") -> None:
        """Visit a form that is evaluated in a scope. `doc` is the comment next to the enclosing form."""
        if form.__class__ is Located:
            self._todo.append(lambda: self._annotated(form, scope, context, doc))
        elif form.__class__ is Pair:
            self._todo.append(lambda: self.call(form, scope, context, doc, self.top.span))

    def forms(self, forms: Iterable[Value], scope: LexicalScope, context: Context) -> None:
        """Visit forms that are evaluated in a scope."""
        for form in forms:
            self.form(form, scope, context)

    def _annotated(self, form: Located, scope: LexicalScope, context: Context, doc: str) -> None:
        place = self.span(form)
        doc = form.comment or doc
        if form.meta:
            # Its value is metadata, in which no problems are reported.
            self.forms(form.meta, scope, self.quoted)
        inner = form.form
        if isinstance(inner, Located):
            self.form(inner, scope, context, doc)
        elif self.is_token(form):
            self.token(form, scope, context)
        elif inner.__class__ is Pair:
            self.call(inner, scope, context, doc, place)
        elif isinstance(inner, Cell):
            self.forms(listed(inner), scope, context)
        elif inner.__class__ is Bind:
            self.bind(inner, scope, context, place)

    def token(self, form: Located, scope: LexicalScope, context: Context) -> Reference | None:
        """Visit a name, lookup or path, and return the reference that it begins with, if any."""
        found = self._reference(form, scope, context)
        if found is not None:
            self.references.append(found)
            if found.name == "current-scope":
                scope.is_open = True
        return found

    def word(self, form: Value, scope: LexicalScope, context: Context) -> None:
        """Visit a word of `$`, which is literal unless it's `$name` or not a plain word."""
        if plain(form).__class__ is not Symbol or not self.is_token(form):
            self.form(form, scope, context)
            return
        place = self.span(form)
        if self.text[place.start : place.start + 1] == "$" and place.end > place.start + 1:
            name = self.text[place.start + 1 : place.end]
            span = TextSpan(place.start + 1, place.end)
            self.references.append(Reference(name, span, scope, context))

    def _reference(self, form: Located, scope: LexicalScope, context: Context) -> Reference | None:
        place = self.span(form)
        start = place.start
        root = self.text[start : place.end].partition("/")[0]
        name, *keys = root.split(":")
        if name in ("", "_", "null", "true", "false", "&") or not _is_name(name):
            return None
        at = start + len(name)
        members = []
        for key in keys:
            members.append((key, TextSpan(at + 1, at + 1 + len(key))))
            at += 1 + len(key)
        span = TextSpan(start, start + len(name))
        return Reference(name, span, scope, context, tuple(members))

    def bind(
        self, form: Bind, scope: LexicalScope, context: Context, place: TextSpan
    ) -> LexicalScope:
        """Visit a `{…}` that is evaluated, and return the scope of its members."""
        inner = self.child(scope, place)
        members = list(form.members)
        at = 0
        while at < len(members):
            key = members[at]
            if plain(key).__class__ is Keyword and at + 1 < len(members):
                span = self.span(key)
                value = members[at + 1]
                made = self.define(
                    plain(key).name,
                    TextSpan(span.start + 1, span.end),
                    span,
                    "key",
                    inner,
                    key.comment,
                )
                self.describe(made, value, inner, context)
                self.form(value, inner, context)
                at += 2
            else:
                # The names in a scope that is merged in are unknown.
                inner.is_open = True
                self.form(key, inner, context)
                at += 1
        return inner

    # --- calls ---

    def call(
        self, call: Pair, scope: LexicalScope, context: Context, doc: str, place: TextSpan
    ) -> None:
        """Visit a call. `place` is the whole form."""
        head = call.a
        operands = listed(call.d)
        bare = plain(head)
        if bare.__class__ is Symbol and self.is_token(head):
            handler = self._handlers.get(bare.name)
            if handler is not None and bare.name not in self._taken:
                self.token(head, scope, context)
                handler(self, CallSite(operands, scope, context, doc, place))
                return
        self.forms(operands, scope, self._operands_of(head, scope, context))

    def _operands_of(self, head: Value, scope: LexicalScope, context: Context) -> Context:
        """Visit the head of a call, and return the context of its operands."""
        bare = plain(head)
        if head.__class__ is Located and self.is_token(head):
            if head.meta:
                self.forms(head.meta, scope, self.quoted)
            reference = self.token(head, scope, context)
            if reference is None or isinstance(bare, ExtendPath):
                # Keywords and paths evaluate their operands.
                return context
            scope.heads.append(reference)
            return self._within(context, reference)
        self.form(head, scope, context)
        if bare.__class__ is Pair and self._makes_function(bare):
            return context
        if not isinstance(bare, Pair):
            return context
        scope.is_open = True
        return self.quoted

    def _within(self, context: Context, head: Reference) -> Context:
        if context.depth >= MAX_CONTEXT:
            return self.quoted
        return Context(context, head, depth=context.depth + 1)

    def _makes_function(self, call: Pair) -> bool:
        head = plain(call.a)
        return (
            head.__class__ is Symbol
            and head.name in ("fn", "curryfn")
            and head.name not in self._taken
        )

    # --- definitions ---

    def child(self, scope: LexicalScope, place: TextSpan) -> LexicalScope:
        """Return a new scope inside another one."""
        made = LexicalScope(place, scope)
        self.scopes.append(made)
        return made

    def define(
        self,
        name: str,
        span: TextSpan,
        whole: TextSpan,
        kind: Kind,
        scope: LexicalScope,
        doc: str = "",
        **facts: object,
    ) -> Definition:
        """Bind a name in a scope."""
        made = Definition(name, span, whole, kind, doc, **facts)  # type: ignore[arg-type]
        scope.names.setdefault(name, []).append(made)
        self.definitions.append(made)
        return made

    def pattern(
        self,
        pattern: Value,
        scope: LexicalScope,
        context: Context,
        *,
        kind: Kind = "parameter",
        whole: TextSpan | None = None,
        doc: str = "",
    ) -> list[Definition]:
        """Bind the names of a pattern, and return their definitions."""
        made: list[Definition] = []
        todo: list[tuple[Value, str]] = [(pattern, doc)]
        while todo:
            form, comment = todo.pop()
            if form.__class__ is not Located:
                continue
            comment = form.comment or comment
            inner = form.form
            place = self.span(form)
            if isinstance(inner, Located):
                todo.append((inner, comment))
            elif self.is_token(form):
                if isinstance(inner, ExtendPath):
                    self.token(form, scope, context)
                elif inner.__class__ is Symbol or isinstance(inner, Cell):
                    name = self.text[place.start : place.end].partition(":")[0]
                    if name and inner != Symbol("&"):
                        span = TextSpan(place.start, place.start + len(name))
                        made.append(self.define(name, span, whole or place, kind, scope, comment))
            elif isinstance(inner, Cell):
                todo.extend((member, "") for member in reversed(listed(inner)))
            elif inner.__class__ is Bind:
                for key in inner.members[::2]:
                    bare = plain(key)
                    if isinstance(bare, Cell):
                        self.forms(listed(bare)[1:], scope, context)
                todo.extend((member, "") for member in reversed(inner.members[1::2]))
        return made

    def describe(
        self, made: Definition, value: Value, scope: LexicalScope, context: Context
    ) -> None:
        """Add to a definition what can be derived from the form of its value."""
        bare = plain(value)
        if bare.__class__ is Pair and not self.is_token(value):
            head = plain(bare.a)
            name = head.name if head.__class__ is Symbol and head.name not in self._taken else ""
            operands = listed(bare.d)
            if name in ("fn", "curryfn", "op") and operands:
                made.kind = "operative" if name == "op" else "function"
                made.formals = formals_text(operands[0])
            elif name == "module":
                made.kind = "data"
        elif value.__class__ is Located and self.is_token(value):
            if bare.__class__ is Symbol or isinstance(bare, Cell):
                made.alias = self._reference(value, scope, context)
            elif not isinstance(bare, ExtendPath):
                made.kind = "key" if made.kind == "key" else "data"
        elif bare.__class__ is not Pair and made.kind != "key":
            made.kind = "data"

    # --- places ---

    def span(self, form: Located) -> TextSpan:
        """Return the span of a form in the text."""
        end = len(self.text)
        return TextSpan(min(form.range.start, end), min(form.range.end, end))

    def is_token(self, form: Value) -> bool:
        """Return whether a form is written without brackets and quotes."""
        if form.__class__ is not Located or form.form.__class__ is Located:
            return False
        return self.text[form.range.start : form.range.start + 1] not in '([{"^'


def _is_name(name: str) -> bool:
    return not (name[0].isnumeric() or name[0] == "." or name[:2].lstrip("+-")[:1].isnumeric())
