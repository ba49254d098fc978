"""What a value can carry beside itself: where and with which comments a form was read, and metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from bassloop.bass.values import Code, Object, Value, Verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.bass.bindings import Binder
    from bassloop.bass.ranges import Range
    from bassloop.bass.scope import Scope


@final
class Located(Object):
    """A form as it was read: the form itself, its range, the comment beside it, the `^` metadata before it.

    Quoted forms keep these wrappers, which show through everything but JSON.
    """

    __slots__ = ("cached", "cached_tail", "comment", "form", "meta", "range")
    kind = "form"

    form: Value
    range: Range
    comment: str
    meta: tuple[Value, ...] | None
    cached: Code
    cached_tail: Code

    def __init__(
        self, form: Value, range: Range, comment: str = "", meta: tuple[Value, ...] | None = None
    ) -> None:
        self.form = form
        self.range = range
        self.comment = comment
        self.meta = meta

    def parts(self) -> Iterator[Verbatim | Value]:
        if self.meta is not None:
            from bassloop.bass.bind import Bind

            yield Verbatim("^")
            yield Bind(self.meta)
            yield Verbatim(" ")
        yield self.form

    def code(self, tail: bool = False) -> Code:
        from bassloop.bass.compiler import annotate_code

        return annotate_code(self, tail)

    def binder(self) -> Binder:
        from bassloop.bass.bindings import annotate_binder

        return annotate_binder(self)


@final
class WithMeta(Object):
    """A value with metadata, a scope. It prints, compares and encodes as the value alone."""

    __slots__ = ("meta", "value")

    def __init__(self, value: Value, meta: Scope) -> None:
        self.value = value
        self.meta = meta

    def parts(self) -> Iterator[Verbatim | Value]:
        yield self.value

    def json_parts(self) -> Iterator[Verbatim | Value]:
        yield self.value


def without_annotations(form: Value) -> Value:
    """A form without the reader's wrappers around it (those of its members stay)."""
    while isinstance(form, Located | WithMeta):
        form = form.form if isinstance(form, Located) else form.value
    return form
