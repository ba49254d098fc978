"""The evaluator: forms are compiled to closures when they are first evaluated, and then only run.

It runs in a greenlet and does no I/O: what needs the outside hands an awaitable to whoever drives the
machine and goes on with its result. Every so many calls it hands over to let others run, and counts
against its budget.

Non-tail calls nest on Python's stack, which for Python functions is on the heap; a script that nests
too deep ends with an error.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import greenlet

from bassloop.bass.combiners import Applicative, Code, Combiner, Operative, Tail
from bassloop.bass.errors import BassError, BudgetExceeded
from bassloop.bass.paths import ExtendPath, FilePath, Path
from bassloop.bass.printer import show
from bassloop.bass.thunk import Thunk
from bassloop.bass.values import (
    EMPTY,
    MISSING,
    Annotated,
    Bind,
    Cons,
    Keyword,
    Pair,
    Scope,
    Symbol,
    Value,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SLICE = 2_000
"""Calls between two checkpoints."""

DEPTH = 150_000
"""Python's recursion limit while a script runs: some 40,000 nested calls of Bass."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a script may take: calls, nested forms, seconds of its own running, bytes of output."""

    steps: int = 50_000_000
    live: int = 2_000_000
    seconds: float = 300.0
    output: int = 1_000_000


class Checkpoint:
    """What a machine hands over when it only wants to let others run."""


CHECKPOINT = Checkpoint()


class Machine:
    """Evaluates forms. One belongs to a session; several fibers of it may be under way at once."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.steps = 0
        self.left = SLICE
        self.running_seconds = 0.0
        self._since = 0.0
        self.session: Any = None

    # --- what the session does for ground ---

    def log(self, message: str, fields: dict[str, Value]) -> None:
        """Say something in the script's log."""
        self.session.log(message, fields)

    def resolve(self, ref: Any) -> Value:
        """The thunk of an image's name."""
        return self.wait_for(self.session.resolve(ref))

    # --- running ---

    async def run(
        self, work: Callable[[], Value], checkpoint: Callable[[], Awaitable[None]]
    ) -> Value:
        """Run `work` in a greenlet of its own, awaiting what it asks for.

        Cancelled, or when an awaitable raises, the exception is raised in the script's place, which
        no script can catch, and from there to the caller.
        """
        fiber = greenlet.greenlet(work)
        asked = self._resume(fiber.switch)
        while not fiber.dead:
            try:
                result = await (checkpoint() if asked is CHECKPOINT else asked)
            except BaseException as error:  # noqa: BLE001 - it goes on inside the script
                asked = self._resume(fiber.throw, error)
            else:
                asked = self._resume(fiber.switch, result)
        return asked

    def _resume(self, enter: Callable[..., Any], *values: Any) -> Any:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, DEPTH))
        self._since = time.monotonic()
        try:
            return enter(*values)
        except RecursionError:
            message = "the script nests its calls too deep; use a loop in tail position, or foldl"
            raise BudgetExceeded(message) from None
        finally:
            self.running_seconds += time.monotonic() - self._since
            sys.setrecursionlimit(limit)

    def wait_for(self, awaitable: Awaitable[Value]) -> Value:
        """Have something awaited by the driver, and return its result."""
        parent = greenlet.getcurrent().parent
        assert parent is not None
        return parent.switch(awaitable)

    def account(self) -> None:
        """Count a slice of steps against the budget, and let others run."""
        self.steps += SLICE
        self.left = SLICE
        if self.steps > self.budget.steps:
            raise BudgetExceeded(
                f"the script took more than {self.budget.steps:,} steps (HOOK_STEPS)"
            )
        if self.running_seconds + time.monotonic() - self._since > self.budget.seconds:
            raise BudgetExceeded(
                f"the script ran for more than {self.budget.seconds:g} s (HOOK_SECONDS)"
            )
        parent = greenlet.getcurrent().parent
        assert parent is not None
        parent.switch(CHECKPOINT)

    # --- evaluating ---

    def evaluate(self, form: Value, scope: Scope) -> Value:
        """A form's value."""
        return force(self.compile(form)(scope))

    def call(self, combiner: Value, arguments: list[Value], scope: Scope | None = None) -> Value:
        """Call a combiner with values, and return its result."""
        return force(self.call_tail(combiner, arguments, scope or Scope()))

    def call_tail(self, combiner: Value, arguments: list[Value], scope: Scope) -> Value:
        """The same, but may return a Tail."""
        if type(combiner) is Applicative:
            return combiner.underlying.apply(self, arguments, scope)
        if isinstance(combiner, Combiner):
            return combiner.apply(self, arguments, scope)
        return call_value(self, combiner, arguments)

    def arguments(self, operands: Value, scope: Scope) -> list[Value]:
        """The values of a list of operands, from left to right."""
        values = []
        while type(operands) is Pair or type(operands) is Cons:
            values.append(self.evaluate(operands.a, scope))
            operands = operands.d
        if operands is not EMPTY:
            rest = self.evaluate(operands, scope)
            while type(rest) is Pair:
                values.append(rest.a)
                rest = rest.d
        return values

    def body(self, forms: list[Value]) -> Code:
        """Several forms as one: their values in turn, the last one's in tail position."""
        if not forms:
            return lambda scope: None
        if len(forms) == 1:
            return self.compile(forms[0], tail=True)
        first = [self.compile(form) for form in forms[:-1]]
        last = self.compile(forms[-1], tail=True)

        def code(scope: Scope) -> Value:
            for each in first:
                each(scope)
            return last(scope)

        return code

    def compile(self, form: Value, *, tail: bool = False) -> Code:
        """A form's code. In tail position it may return a Tail."""
        kind = type(form)
        if kind is Annotated:
            return self._annotated(form, tail)
        if kind is Pair:
            code: Code | None = form.tail_code if tail else form.code
            if code is None:
                code = self._combination(form, tail)
                if tail:
                    form.tail_code = code
                else:
                    form.code = code
            return code
        if kind is Symbol:
            return self._symbol(form)
        if kind is Keyword:
            symbol = Symbol(form.name)
            return lambda scope: symbol
        if kind is Cons:
            return self._list(form)
        if kind is Bind:
            return self._scope(form)
        if kind is ExtendPath:
            return self._extended(form)
        return lambda scope: form

    def _annotated(self, form: Annotated, tail: bool) -> Code:
        if type(form.value) is Symbol:
            return self._symbol(form.value, form.range)
        inner = self.compile(form.value, tail=tail and not form.comment)
        if not form.comment:
            return inner
        comment = form.comment

        def code(scope: Scope) -> Value:
            value = inner(scope)
            if type(value) is Symbol and value.name in scope.bindings:
                scope.docs[value.name] = comment
            return value

        return code

    def _symbol(self, form: Symbol, where: Any = None) -> Code:
        name = form.name

        def code(scope: Scope) -> Value:
            value = scope.bindings.get(name, MISSING)
            if value is MISSING:
                value = scope.find(name)
                if value is MISSING:
                    raise _unbound(name, scope, where)
            return value

        return code

    def _list(self, form: Cons) -> Code:
        codes = []
        rest: Value = form
        while type(rest) is Cons:
            codes.append(self.compile(rest.a))
            rest = rest.d
        codes.reverse()
        end = None if rest is EMPTY else self.compile(rest)

        def code(scope: Scope) -> Value:
            values = [each(scope) for each in reversed(codes)]
            result = EMPTY if end is None else end(scope)
            for value in reversed(values):
                result = Pair(value, result)
            return result

        return code

    def _scope(self, form: Bind) -> Code:
        codes = [self.compile(each) for each in form.forms]
        where = form.range

        def code(scope: Scope) -> Value:
            made = Scope({}, (scope,))
            values = [each(made) for each in codes]
            made.parents = ()
            _fill(made, values, where)
            return made

        return code

    def _extended(self, form: ExtendPath) -> Code:
        base, child = self.compile(form.base), form.child

        def code(scope: Scope) -> Value:
            value = base(scope)
            if isinstance(value, Path) and not isinstance(value, FilePath):
                from bassloop.bass.paths import CommandPath

                if not isinstance(value, CommandPath):
                    return value.extend(child)
            return self.call(value, [child], scope)

        return code

    def _combination(self, form: Pair, tail: bool) -> Code:
        head, operands, where = self.compile(form.a), form.d, form.range
        codes: list[Code] | None = []
        rest: Value = operands
        while type(rest) is Pair:
            rest = rest.d
        if rest is not EMPTY:
            codes = None
        compiled = False

        def code(scope: Scope) -> Value:
            nonlocal compiled
            try:
                operator = head(scope)
                if type(operator) is Operative or (
                    not isinstance(operator, Applicative) and isinstance(operator, Combiner)
                ):
                    result = operator.operate(self, operands, scope)
                else:
                    if codes is None:
                        arguments = self.arguments(operands, scope)
                    else:
                        if not compiled:
                            each: Value = operands
                            while each is not EMPTY:
                                codes.append(self.compile(each.a))
                                each = each.d
                            compiled = True
                        arguments = [argument(scope) for argument in codes]
                    result = self.call_tail(operator, arguments, scope)
                if not tail:
                    while type(result) is Tail:
                        result = result.code(result.scope)
                return result
            except BassError as error:
                error.at(where)
                raise

        return code


def force(value: Value) -> Value:
    """Make the calls that are still to be made."""
    while type(value) is Tail:
        value = value.code(value.scope)
    return value


def _fill(scope: Scope, values: list[Value], where: Any) -> None:
    """Bind alternating symbols and values; a scope that stands alone becomes a parent."""
    index = 0
    while index < len(values):
        value = values[index]
        if isinstance(value, Scope):
            scope.parents = (*scope.parents, value)
            index += 1
        elif isinstance(value, Symbol):
            if index + 1 == len(values):
                raise BassError(f"{{…}} has no value for :{value.name}", where)
            scope.bindings[value.name] = values[index + 1]
            index += 2
        else:
            raise BassError(f"{{…}} binds keywords, not {show(value)}", where)


def _unbound(name: str, scope: Scope, where: Any) -> BassError:
    """An error for a name that is bound nowhere, with names that are alike."""
    import difflib

    alike = difflib.get_close_matches(name, [known for known, _ in scope.items()], n=3, cutoff=0.7)
    hint = f"; did you mean {' or '.join(alike)}?" if alike else ""
    return BassError(f"{name} is not bound{hint}", where)


def call_value(machine: Machine, value: Value, arguments: list[Value]) -> Value:
    """Call something that is no combiner: a symbol looks itself up, a path makes a thunk.

    A command or file path with arguments gets them on its standard input; a directory or a thunk
    is extended.
    """
    if isinstance(value, Symbol):
        if not 1 <= len(arguments) <= 2 or not isinstance(arguments[0], Scope):
            given = " ".join(show(argument)[:100] for argument in arguments)
            raise BassError(
                f":{value.name} is called with a scope and maybe a default, not ({given})"
            )
        found = arguments[0].find(value.name)
        if found is not MISSING:
            return found
        if len(arguments) == 2:
            return arguments[1]
        raise _unbound(value.name, arguments[0], None)
    from bassloop.bass.paths import CommandPath, DirPath

    if isinstance(value, Path):
        extends = isinstance(value, DirPath | Thunk) or isinstance(
            getattr(value, "path", None), DirPath
        )
        if extends and not isinstance(value, CommandPath):
            if len(arguments) != 1 or not isinstance(arguments[0], Path):
                raise BassError(f"{show(value)} is called with the path to extend it by")
            return value.extend(arguments[0])
        return Thunk(args=(value,), stdin=tuple(arguments))
    raise BassError(f"{show(value)[:200]} can't be called")
