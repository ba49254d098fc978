"""What can stand at the head of a combination: operatives, applicatives, and builtins of both sorts.

A combiner is *called* with operands and the scope of the caller. An operative takes the operands as they
were written. An applicative evaluates them, left to right, and hands the values to the combiner inside it.

To make a new type callable, derive from `Applicative` and give it `unwrap()` (the combiner inside) or, which
is faster and enough for most, `apply(args, scope, machine)`, which receives the evaluated arguments as a
Python list. A type that wants operands raw derives from `Combiner` and gives `call`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, final

from bassloop.bass.values import EMPTY, IGNORE, Object, Value, Verbatim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bassloop.bass.bindings import Binder
    from bassloop.bass.machine import Machine
    from bassloop.bass.scope import Scope
    from bassloop.bass.values import Code


Plan: TypeAlias = "tuple[tuple[str, ...] | None, Binder, Binder | None, Code]"
"""An operative's patterns and body, compiled: its simple parameters if it has no others, the binder of its
operands, that of the scope unless it is ignored, and the code of the body."""


class Combiner(Object):
    """The base of everything callable. Override `call`, or `apply` if the operands form a proper list."""

    __slots__ = ()
    kind = "combiner"
    applicative = False

    def call(self, operands: Value, scope: Scope, machine: Machine) -> Value:
        """Call with operands (a list value, as written for operatives) in the caller's scope.

        May return the trampoline's marker (`machine.TAIL`): whoever needs the value itself calls
        `machine.call` instead. Raises `BassError`.
        """
        from bassloop.bass.pair import to_list

        return self.apply(to_list(operands, self), scope, machine)

    def apply(self, args: list[Value], scope: Scope, machine: Machine) -> Value:
        """The same, with the operands as a Python list; what applicatives do with evaluated arguments."""
        from bassloop.bass.pair import from_list

        return self.call(from_list(args), scope, machine)


class Applicative(Combiner):
    """A combiner that evaluates its operands. Give it `unwrap` or `apply`, or both."""

    __slots__ = ()
    kind = "applicative"
    applicative = True

    def unwrap(self) -> Combiner:
        """The combiner inside, which takes the arguments evaluated."""
        raise NotImplementedError

    def apply(self, args: list[Value], scope: Scope, machine: Machine) -> Value:
        return self.unwrap().apply(args, scope, machine)

    def call(self, operands: Value, scope: Scope, machine: Machine) -> Value:
        from bassloop.bass.compiler import evaluate_operands

        args, rest = evaluate_operands(operands, scope, machine)
        if rest is EMPTY:
            return self.apply(args, scope, machine)
        from bassloop.bass.pair import from_list

        return self.unwrap().call(from_list(args, rest), scope, machine)


@final
class Operative(Combiner):
    """A combiner made by `op`: patterns for its operands and for the caller's scope, and a body.

    `names` are the parameters when the operands' pattern is nothing but a list of distinct symbols and the
    scope is ignored, else `None`: such a call needs no pattern matching. `count` is how many, or -1.
    """

    __slots__ = (
        "bind", "bind_scope", "body", "count", "formals", "name0", "name1", "names", "parents", "run",
        "scope_formal", "static",
    )  # fmt: skip
    kind = "operative"

    formals: Value
    scope_formal: Value
    body: Value
    static: Scope
    names: tuple[str, ...] | None
    count: int
    parents: tuple[Scope]
    bind: Binder
    bind_scope: Binder | None
    run: Code

    def __init__(
        self,
        formals: Value,
        scope_formal: Value,
        body: Value,
        static: Scope,
        plan: Plan,
    ) -> None:
        self.formals = formals
        self.scope_formal = scope_formal
        self.body = body
        self.static = static
        self.parents = (static,)
        self.names, self.bind, self.bind_scope, self.run = names, *_ = plan
        self.count = -1
        if names is not None:
            self.count = len(names)
            if names:
                self.name0, self.name1 = names[0], names[-1]

    def parts(self) -> Iterator[Verbatim | Value]:
        yield Verbatim("(op ")
        yield self.formals
        yield Verbatim(" ")
        yield self.scope_formal
        yield Verbatim(" ")
        yield self.body
        yield Verbatim(")")

    def call(self, operands: Value, scope: Scope, machine: Machine) -> Value:
        from bassloop.bass.machine import TAIL
        from bassloop.bass.scope import Scope as NewScope

        inner = NewScope({}, self.parents, self.static.grounded)
        failure = self.bind(inner, operands, machine)
        if failure is None and self.bind_scope is not None:
            failure = self.bind_scope(inner, scope, machine)
        if failure is not None:
            raise failure.error()
        machine.run, machine.scope = self.run, inner
        return TAIL

    def apply(self, args: list[Value], scope: Scope, machine: Machine) -> Value:
        from bassloop.bass.machine import TAIL
        from bassloop.bass.pair import from_list
        from bassloop.bass.scope import Scope as NewScope

        names = self.names
        if names is not None and len(names) == len(args):
            machine.run = self.run
            machine.scope = NewScope(
                dict(zip(names, args, strict=True)), self.parents, self.static.grounded
            )
            return TAIL
        if names is not None:
            from bassloop.bass.errors import miscounted

            raise miscounted(self.formals, len(names), args)
        return self.call(from_list(args), scope, machine)


@final
class Again(Combiner):
    """What is inside an applicative made of an applicative: what it is given is evaluated once more."""

    __slots__ = ("inside",)

    def __init__(self, inside: Applicative) -> None:
        self.inside = inside

    def parts(self) -> Iterator[Verbatim | Value]:
        yield self.inside

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        pending.append((self.inside, other.inside))
        return True

    def call(self, operands: Value, scope: Scope, machine: Machine) -> Value:
        return self.inside.call(operands, scope, machine)


@final
class Wrapped(Applicative):
    """The applicative that `wrap` makes around a combiner; `fn` makes one around an operative."""

    __slots__ = ("underlying",)

    def __init__(self, underlying: Combiner) -> None:
        self.underlying = underlying

    def parts(self) -> Iterator[Verbatim | Value]:
        inner = self.underlying
        if inner.__class__ is Operative and inner.scope_formal is IGNORE:
            yield Verbatim("(fn ")
            yield inner.formals
            yield Verbatim(" ")
            yield inner.body
        else:
            yield Verbatim("(wrap ")
            yield inner
        yield Verbatim(")")

    def same(self, other: Value, pending: list[tuple[Value, Value]]) -> bool:
        pending.append((self.underlying, other.underlying))
        return True

    def unwrap(self) -> Combiner:
        inside = self.underlying
        return inside.inside if isinstance(inside, Again) else inside

    def apply(self, args: list[Value], scope: Scope, machine: Machine) -> Value:
        return self.underlying.apply(args, scope, machine)


@final
class Builtin(Combiner):
    """A combiner written in Python.

    `function(args, scope, machine)` receives the operands as a Python list: raw for an operative, evaluated
    when it is wrapped. It may return `machine.TAIL`. `least` and `most` bound the number of operands
    (`most` is None for any number) and are checked before the call. `dotted(args, rest, scope, machine)` is
    for operands that end in something else than the empty list, if that makes sense.
    """

    __slots__ = ("dotted", "formals", "function", "least", "most", "name", "operative")
    kind = "builtin"

    def __init__(
        self,
        name: str,
        formals: Value,
        function: Callable[[list[Value], Scope, Machine], Value],
        least: int,
        most: int | None,
        operative: bool = False,
        dotted: Callable[[list[Value], Value, Scope, Machine], Value] | None = None,
    ) -> None:
        self.dotted = dotted
        self.name = name
        self.formals = formals
        self.function = function
        self.least = least
        self.most = most
        self.operative = operative

    def parts(self) -> Iterator[Verbatim | Value]:
        from bassloop.bass.pair import Pair
        from bassloop.bass.symbol import Symbol

        yield Verbatim("<builtin: ")
        yield Pair(Symbol(self.name), self.formals)
        yield Verbatim(">")

    def call(self, operands: Value, scope: Scope, machine: Machine) -> Value:
        from bassloop.bass.pair import end_of

        args: list[Value] = []
        rest = end_of(operands, args)
        if rest is EMPTY:
            return self.apply(args, scope, machine)
        if self.dotted is None:
            from bassloop.bass import errors

            raise errors.not_a_list(operands, self)
        return self.dotted(args, rest, scope, machine)

    def apply(self, args: list[Value], scope: Scope, machine: Machine) -> Value:
        count = len(args)
        if count < self.least or (self.most is not None and count > self.most):
            from bassloop.bass import errors

            raise errors.arity(self.name, self.least, count, variadic=self.most != self.least)
        return self.function(args, scope, machine)
