"""The machine: runs compiled forms, suspends them, and counts what they take.

A machine does no I/O. It runs in fibers (greenlets), each of which hands whatever must be awaited to the
driver that started it (`drive`), and is resumed with the result. Calls in tail position are left to the
trampoline: code that returns `TAIL` has put what is to run next, and where, into `machine.run` and
`machine.scope`. All other calls nest on Python's stack, which for Python functions is on the heap; too much
of it is an error like any other.
"""

from __future__ import annotations

import contextvars
import sys
from typing import TYPE_CHECKING, Any, Final

import greenlet

from bassloop.bass import errors
from bassloop.bass.combiner import Combiner
from bassloop.bass.pair import plain
from bassloop.bass.registry import TABLE
from bassloop.bass.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bassloop.bass.budget import Meter
    from bassloop.bass.host import Host
    from bassloop.bass.session import Session
    from bassloop.bass.values import Code, Value


class _Tail:
    __slots__ = ()

    def __repr__(self) -> str:
        return "TAIL"


TAIL: Final = _Tail()
"""What code returns that has left a call for the trampoline, in `machine.run` and `machine.scope`."""


class Machine:
    """Runs the code of one session. Several fibers of it may be under way, one at a time."""

    __slots__ = ("fuel", "host", "meter", "rebound", "run", "scope", "session")

    run: Code
    scope: Scope

    def __init__(self, session: Session, host: Host, meter: Meter) -> None:
        self.session = session
        self.host = host
        self.meter = meter
        self.fuel = meter.slice
        self.rebound: set[str] = set()

    # --- for compiled code and builtins ---

    def call(self, combiner: Value, args: list[Value], scope: Scope | None = None) -> Value:
        """Call a combiner with values (which an operative takes as its operands), and return its result."""
        combiner = plain(combiner)
        if not isinstance(combiner, Combiner):
            raise errors.not_callable(combiner)
        result = combiner.apply(args, Scope() if scope is None else scope, self)
        while result is TAIL:
            body, inner = self.run, self.scope
            self.fuel -= 1
            if self.fuel < 0:
                self.refuel()
            result = body(inner, self)
        return result

    def finish(self, result: Value) -> Value:
        """The value of what code returned: runs the trampoline until there is one."""
        while result is TAIL:
            body, inner = self.run, self.scope
            self.fuel -= 1
            if self.fuel < 0:
                self.refuel()
            result = body(inner, self)
        return result

    def define(self, scope: Scope, name: str, value: Value) -> None:
        """Bind a name in a scope that code may run in."""
        scope.vars[name] = value
        if scope.grounded and name in TABLE:
            self.rebound.add(name)

    def spend(self, steps: int) -> None:
        """Count the steps that a builtin takes over many values at once."""
        self.fuel -= steps
        if self.fuel < 0:
            self.refuel()

    def refuel(self) -> None:
        """A slice of steps is used up: count it against the budget, and let others run.

        Raises `Exhausted`.
        """
        self.meter.count(self.meter.slice - self.fuel)
        self.fuel = self.meter.slice
        parent = greenlet.getcurrent().parent
        if parent is not None:
            parent.switch(CHECKPOINT)

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        """Have something awaited by the driver; its result, or its exception raised here."""
        parent = greenlet.getcurrent().parent
        assert parent is not None, "only a fiber can wait"
        self.meter.pause()
        try:
            return parent.switch(awaitable)
        finally:
            self.meter.resume()


class _Checkpoint:
    __slots__ = ()


CHECKPOINT: Final = _Checkpoint()
"""What a fiber hands over that only wants to let others run."""


async def drive(
    machine: Machine, work: Callable[[], Value], checkpoint: Callable[[], Awaitable[object]]
) -> Value:
    """Run `work` in a fiber of the machine, awaiting what it asks for; its result.

    When an awaitable raises, or is cancelled, the exception is raised in the fiber, at the place that waits,
    and from there on to the caller. Raises `BassError` for what goes wrong in the script.
    """
    fiber = greenlet.greenlet(work)
    fiber.gr_context = contextvars.copy_context()
    asked = _enter(machine, fiber.switch)
    while not fiber.dead:
        try:
            result = await (checkpoint() if asked is CHECKPOINT else asked)
        except BaseException as error:  # noqa: BLE001 - it goes on inside the fiber
            asked = _enter(machine, fiber.throw, error)
        else:
            asked = _enter(machine, fiber.switch, result)
    return asked


def _enter(machine: Machine, enter: Callable[..., Any], *values: Any) -> Any:
    """Run a fiber up to its next request, with as much of Python's stack as its budget gives it."""
    meter = machine.meter
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, meter.frames))
    meter.resume()
    try:
        return enter(*values)
    except RecursionError:
        raise meter.too_deep() from None
    finally:
        meter.pause()
        sys.setrecursionlimit(limit)
