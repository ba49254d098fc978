"""What can be called, and how a call is made.

An operative gets its operands as they stand, and the caller's scope; an applicative has them evaluated
first, then calls what it wraps. A call in tail position returns a :class:`Tail` instead of descending,
so that a loop written as recursion needs no stack.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bassloop.bass.binding import Mismatch, bind, bind_arguments
from bassloop.bass.errors import BassError
from bassloop.bass.printer import show
from bassloop.bass.values import EMPTY, IGNORE, Pair, Scope, Symbol, Value, make_list, unwrap_form

if TYPE_CHECKING:
    from bassloop.bass.machine import Machine

Code = Callable[[Scope], Value]
"""A compiled form."""


class Tail:
    """A call that is still to be made: run the code in the scope."""

    __slots__ = ("code", "scope")

    def __init__(self, code: Code, scope: Scope) -> None:
        self.code, self.scope = code, scope


class Combiner:
    """Something that can be called."""

    __slots__ = ()

    def operate(self, machine: Machine, operands: Value, scope: Scope) -> Value:
        """Call with operands as they stand. May return a Tail."""
        raise NotImplementedError

    def apply(self, machine: Machine, arguments: list[Value], scope: Scope) -> Value:
        """Call with these values as operands. May return a Tail."""
        return self.operate(machine, make_list(arguments), scope)


class Operative(Combiner):
    """`(op formals scope body)`: made by a script."""

    __slots__ = ("code", "env", "formals", "name", "scope_name", "source")

    def __init__(
        self, formals: Value, scope_formal: Value, code: Code, env: Scope, source: Value
    ) -> None:
        self.formals, self.code, self.env, self.source = formals, code, env, source
        name = unwrap_form(scope_formal)
        if name is IGNORE:
            self.scope_name: str | None = None
        elif type(name) is Symbol:
            self.scope_name = name.name
        else:
            raise BassError(f"an operative's scope is bound to a name or _, not to {show(name)}")

    def operate(self, machine: Machine, operands: Value, scope: Scope) -> Value:
        """Bind the operands and run the body in a scope of its own."""
        machine.left -= 1
        if machine.left < 0:
            machine.account()
        inner = Scope({}, (self.env,))
        bind(machine, inner, self.formals, operands)
        if self.scope_name is not None:
            inner.bindings[self.scope_name] = scope
        return Tail(self.code, inner)

    def apply(self, machine: Machine, arguments: list[Value], scope: Scope) -> Value:
        """The same, with values in a Python list, which most often need no Bass list."""
        machine.left -= 1
        if machine.left < 0:
            machine.account()
        inner = Scope({}, (self.env,))
        bind_arguments(machine, inner, self.formals, arguments)
        if self.scope_name is not None:
            inner.bindings[self.scope_name] = scope
        return Tail(self.code, inner)

    def __str__(self) -> str:
        return show(self.source)


class Applicative(Combiner):
    """What `(wrap combiner)` makes."""

    __slots__ = ("underlying",)

    def __init__(self, underlying: Combiner) -> None:
        self.underlying = underlying

    def operate(self, machine: Machine, operands: Value, scope: Scope) -> Value:
        """Evaluate the operands from left to right, then call what is wrapped."""
        return self.underlying.apply(machine, machine.arguments(operands, scope), scope)

    def __str__(self) -> str:
        if isinstance(self.underlying, Operative):
            return f"(wrap {self.underlying})"
        return f"(wrap {self.underlying})"


class NativeOperative(Combiner):
    """An operative written in Python: `function(machine, operands, scope)`."""

    __slots__ = ("formals", "function", "name")

    def __init__(self, name: str, formals: str, function: Callable[..., Value]) -> None:
        self.name, self.formals, self.function = name, formals, function

    def operate(self, machine: Machine, operands: Value, scope: Scope) -> Value:
        """Call it."""
        return self.function(machine, operands, scope)

    def __str__(self) -> str:
        return f"<builtin: ({self.name} {self.formals})>"


class Native(Combiner):
    """What is wrapped of a function written in Python: `function(*values)`.

    A coroutine that it returns is awaited by the machine's driver. `needs_machine` and `needs_scope`
    pass those before the values.
    """

    __slots__ = ("formals", "function", "least", "most", "name", "needs_machine", "needs_scope")

    def __init__(
        self,
        name: str,
        formals: str,
        function: Callable[..., Any],
        *,
        needs_machine: bool = False,
        needs_scope: bool = False,
    ) -> None:
        self.name, self.formals, self.function = name, formals, function
        self.needs_machine, self.needs_scope = needs_machine, needs_scope
        words = formals.strip("[]()").split()
        if not formals.startswith(("[", "(")):
            self.least, self.most = 0, None
        elif "&" in words:
            self.least, self.most = words.index("&"), None
        else:
            self.least = self.most = len(words)

    def operate(self, machine: Machine, operands: Value, scope: Scope) -> Value:
        """Call it with operands that are values already."""
        arguments = []
        while operands is not EMPTY:
            if not isinstance(operands, Pair):
                raise BassError(f"{self.name} takes a list of arguments, not {show(operands)}")
            arguments.append(operands.a)
            operands = operands.d
        return self.apply(machine, arguments, scope)

    def apply(self, machine: Machine, arguments: list[Value], scope: Scope) -> Value:
        """Call it."""
        given = len(arguments)
        if given < self.least or (self.most is not None and given > self.most):
            raise BassError(f"{self.name} takes {self._arity()}, and was given {given}")
        extra: list[Any] = [machine] if self.needs_machine else []
        if self.needs_scope:
            extra.append(scope)
        result = self.function(*extra, *arguments)
        if inspect.iscoroutine(result):
            return machine.wait_for(result)
        return result

    def _arity(self) -> str:
        if self.most is None:
            return f"at least {self.least} argument{'s' * (self.least != 1)}"
        return f"{self.least} argument{'s' * (self.least != 1)}"

    def __str__(self) -> str:
        return f"<builtin: ({self.name} {self.formals.strip('[]')})>"


def builtin(name: str, formals: str, function: Callable[..., Any], **needs: bool) -> Applicative:
    """A function of Python as a value of Bass; `formals` says how many arguments it takes."""
    return Applicative(Native(name, formals, function, **needs))


def expect(value: Value, kind: type | tuple[type, ...], what: str) -> Any:
    """The value, if it is of the kind. Raises BassError that says what was expected."""
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise BassError(f"expected {what}, not {show(value)}")


__all__ = [
    "Applicative",
    "Code",
    "Combiner",
    "Mismatch",
    "Native",
    "NativeOperative",
    "Operative",
    "Tail",
    "builtin",
    "expect",
]
