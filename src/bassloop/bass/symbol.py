"""Symbols name bindings; keywords evaluate to symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from bassloop.bass.combiner import Applicative, Combiner
from bassloop.bass.values import Code, Object, Value, Verbatim, strip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.bass.bindings import Binder
    from bassloop.bass.machine import Machine
    from bassloop.bass.scope import Scope


@final
class Symbol(Applicative):
    """A name. Evaluates to what it is bound to; called with a scope it looks itself up there."""

    __slots__ = ("name",)
    kind = "symbol"

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return other.__class__ is Symbol and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim(self.name)

    def json_parts(self) -> Iterator[Verbatim | Value]:
        yield self.name

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        return bool(other.name == self.name)

    def code(self, tail: bool = False) -> Code:
        from bassloop.bass.compiler import symbol_code

        return symbol_code(self.name)

    def binder(self) -> Binder:
        from bassloop.bass.bindings import symbol_binder

        return symbol_binder(self.name)

    def unwrap(self) -> Combiner:
        return Lookup(self)

    def apply(self, args: list[Value], scope: Scope, machine: Machine) -> Value:
        return look_up(self, args)


@final
class Lookup(Combiner):
    """What is inside a symbol that is called: takes a scope, and a default for when it is unbound there."""

    __slots__ = ("symbol",)
    kind = "lookup"

    def __init__(self, symbol: Symbol) -> None:
        self.symbol = symbol

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim("(unwrap ")
        yield self.symbol
        yield Verbatim(")")

    def json_parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim('{"Symbol":')
        yield self.symbol.name
        yield Verbatim("}")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        return bool(other.symbol == self.symbol)

    def apply(self, args: list[Value], scope: Scope, machine: Machine) -> Value:
        return look_up(self.symbol, args)


def look_up(symbol: Symbol, args: list[Value]) -> Value:
    """The value of a symbol in the scope `args[0]`, or `args[1]` if it is not bound there."""
    from bassloop.bass import errors
    from bassloop.bass.scope import MISSING, Scope

    if not args:
        raise errors.arity(f":{symbol.name}", 1, 0, variadic=True)
    scope = strip(args[0])
    if scope.__class__ is not Scope:
        raise errors.wrong_type(scope, "scope", f":{symbol.name}")
    value = scope.get(symbol.name)
    if value is not MISSING:
        return value
    if len(args) > 1:
        return args[1]
    raise errors.unbound(symbol.name, scope)


@final
class Keyword(Object):
    """`:name`, which evaluates to the symbol. As a pattern it matches exactly that symbol."""

    __slots__ = ("name",)
    kind = "keyword"

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return other.__class__ is Keyword and other.name == self.name

    def __hash__(self) -> int:
        return hash((":", self.name))

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim(":" + self.name)

    def json_parts(self) -> Iterator[Verbatim | Value]:
        yield self.name

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        return bool(other.name == self.name)

    def code(self, tail: bool = False) -> Code:
        symbol = Symbol(self.name)
        return lambda scope, machine: symbol

    def binder(self) -> Binder:
        from bassloop.bass.bindings import constant_binder

        return constant_binder(self, Symbol(self.name))
