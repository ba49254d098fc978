"""Lists: `Pair` is a combination to evaluate, `Cons` constructs the list of its evaluated members.

A list that has been evaluated is made of pairs, ended by `EMPTY`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from bassloop.bass.annotated import Located
from bassloop.bass.values import EMPTY, Code, Empty, Object, Value, Verbatim, strip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bassloop.bass.bindings import Binder


class Cell(Object):
    """What `Pair` and `Cons` share: a first value `a` and the rest `d`."""

    __slots__ = ("a", "cached", "cached_tail", "d")
    kind = "list"
    brackets: ClassVar[tuple[str, str]] = ("(", ")")

    a: Value
    d: Value
    cached: Code
    cached_tail: Code

    def __init__(self, a: Value, d: Value) -> None:
        self.a = a
        self.d = d

    def parts(self) -> Iterator[Verbatim | Value]:
        opening, closing = self.brackets
        yield Verbatim(opening)
        cell: Value = self
        while True:
            yield cell.a
            rest = plain(cell.d)
            if rest is EMPTY:
                break
            if not isinstance(rest, Cell):
                yield Verbatim(" & ")
                yield cell.d
                break
            yield Verbatim(" ")
            cell = rest
        yield Verbatim(closing)

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        pending.append((self.d, other.d))
        pending.append((self.a, other.a))
        return True

    def binder(self) -> Binder:
        from bassloop.bass.bindings import list_binder

        return list_binder(self)


@final
class Pair(Cell):
    """`(a & d)`. Evaluating it calls what `a` evaluates to with the operands `d`."""

    __slots__ = ()

    def json_parts(self) -> Iterator[Verbatim | Value]:
        from bassloop.bass.errors import cannot_encode

        items: list[Value] = []
        rest = end_of(self, items)
        if rest is not EMPTY:
            raise cannot_encode(self)
        yield Verbatim("[")
        for index, item in enumerate(items):
            if index:
                yield Verbatim(",")
            yield item
        yield Verbatim("]")

    def code(self, tail: bool = False) -> Code:
        from bassloop.bass.compiler import pair_code

        return pair_code(self, tail)


@final
class Cons(Cell):
    """`[a & d]`. Evaluating it makes the pair of both, evaluated."""

    __slots__ = ()
    brackets = ("[", "]")

    def code(self, tail: bool = False) -> Code:
        from bassloop.bass.construct import cons_code

        return cons_code(self)


def plain(value: Value) -> Value:
    """The value without metadata and without the reader's annotations."""
    value = strip(value)
    while value.__class__ is Located:
        value = strip(value.form)
    return value


def end_of(value: Value, items: list[Value]) -> Value:
    """Append the members of a list to `items`; what is left when they end (`EMPTY` for a proper list)."""
    append = items.append
    while True:
        cls = value.__class__
        if cls is Pair or cls is Cons:
            append(value.a)
            value = value.d
        elif cls is Empty:
            return EMPTY
        else:
            inner = plain(value)
            if inner is value:
                return value
            value = inner


def to_list(value: Value, asked_by: Value = None) -> list[Value]:
    """The members of a list value. Raises `BassError` if it is no list, or does not end in the empty list."""
    items: list[Value] = []
    if end_of(value, items) is not EMPTY:
        from bassloop.bass.errors import not_a_list

        raise not_a_list(value, asked_by)
    return items


def from_list(items: Iterable[Value], rest: Value = EMPTY) -> Value:
    """The list value of `items`, ended by `rest`."""
    members = list(items)
    while members:
        rest = Pair(members.pop(), rest)
    return rest


def is_list(value: Value) -> bool:
    """Whether a value is a list that ends in the empty list."""
    return end_of(value, []) is EMPTY
