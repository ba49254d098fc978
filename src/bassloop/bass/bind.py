"""`{…}` as it is written: evaluated it makes a scope, as a pattern it takes one apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from bassloop.bass.values import Code, Object, Value, Verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.bass.bindings import Binder


@final
class Bind(Object):
    """The members of `{…}`, unevaluated."""

    __slots__ = ("cached", "members")
    kind = "bind form"

    members: tuple[Value, ...]
    cached: Code

    def __init__(self, members: tuple[Value, ...]) -> None:
        self.members = members

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim("{")
        for index, member in enumerate(self.members):
            if index:
                yield Verbatim(" ")
            yield member
        yield Verbatim("}")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        if len(self.members) != len(other.members):
            return False
        pending.extend(zip(self.members, other.members, strict=True))
        return True

    def code(self, tail: bool = False) -> Code:
        from bassloop.bass.construct import bind_code

        return bind_code(self)

    def binder(self) -> Binder:
        from bassloop.bass.bindings import scope_binder

        return scope_binder(self)
