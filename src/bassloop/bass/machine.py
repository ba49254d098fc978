"""The machine: runs compiled forms, and lets others run now and then.

A machine does no I/O. It runs in fibers (greenlets), each of which hands whatever must be awaited to the driver that
started it (`drive`), and is resumed with the result. Calls in tail position are left to the trampoline: code that
returns `TAIL` has put what is to run next, and in which scope, into `machine.run` and `machine.scope`. All other calls
nest on Python's stack, which for Python functions is on the heap; too much of it is an error like any other.
"""

from __future__ import annotations

import contextvars
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, final

import greenlet

from bassloop.bass.errors import BassError, Exhausted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bassloop.bass.errors import Mismatch
    from bassloop.bass.host import Host
    from bassloop.bass.memo_file import MemoKey
    from bassloop.bass.path import HostPath
    from bassloop.bass.thunk import Thunk
    from bassloop.bass.values import Scope, Value
    from bassloop.wire import bass_pb2 as pb


Code: TypeAlias = "Callable[[Scope, Machine], Value]"
"""A compiled form: called with the scope to evaluate it in, and the machine that runs it."""

Binder: TypeAlias = "Callable[[Scope, Value, Machine], Mismatch | None]"
"""A compiled pattern: called with a scope, it binds its names there to parts of a value, unless that doesn't match.

What was bound before a mismatch stays bound.
"""


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of a session.

    * `steps`: calls, and values that builtins call something for.
    * `output`: bytes that it logs and prints.
    * `depth`: calls within calls that aren't in tail position; simple calls may nest deeper.

    `setting` is what to change to give a script more, for messages: a text with `{}` for the limit in capitals.
    """

    steps: int = 50_000_000
    output: int = 1 << 20
    depth: int = 20_000
    setting: str = ""


FRAMES_PER_CALL = 16
"""The frames of Python's that a nested call takes, generously estimated."""


@final
class Meter:
    """Counts what a session uses of its budget. A budget that is used up stays so."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.frames = budget.depth * FRAMES_PER_CALL
        self.steps = 0
        self.output = 0

    def count(self, steps: int) -> None:
        """Count steps. Raises `Exhausted`."""
        self.steps += steps
        if self.steps > self.budget.steps:
            raise self._spent("steps", f"the script took more than {self.budget.steps:,} steps")

    def write(self, size: int) -> None:
        """Count bytes of output. Raises `Exhausted`."""
        self.output += size
        if self.output > self.budget.output:
            raise self._spent("output", f"the script wrote more than {self.budget.output:,} bytes")

    def too_deep(self) -> Exhausted:
        """Return the error of a script whose calls nest too deeply."""
        return self._spent(
            "depth",
            "the script nests its calls too deep; put the call in tail position, or use foldl",
        )

    def _spent(self, budget: str, text: str) -> Exhausted:
        setting = self.budget.setting.format(budget.upper())
        fix = f"; {setting} is the limit" if setting else ""
        return Exhausted(budget, f"{text}: its budget ({budget}) is used up{fix}")


class _Tail:
    __slots__ = ()

    def __repr__(self) -> str:
        return "TAIL"


TAIL: Final = _Tail()
"""The result of code that has left a call for the trampoline, in `machine.run` and `machine.scope`."""


SLICE: Final = 2_000
"""Steps between two checkpoints, which take some milliseconds."""


class SessionServices(Protocol):
    """The session's services for builtins: loading modules, running thunks, reading and writing files."""

    @property
    def written_memos(self) -> dict[tuple[str, str], list[tuple[MemoKey, pb.Value]]]:
        """The session's own writes to files of memos, by context and path."""

    def module(self, thunk: Thunk, machine: Machine) -> Scope:
        """Return the module that a Bass thunk is, which is loaded once."""

    def run(self, thunk: Thunk, machine: Machine) -> None:
        """Run a thunk: a Bass script here, anything else on the host."""

    def start(self, thunk: Thunk, handler: Value, machine: Machine) -> Callable[[Machine], Value]:
        """Run a thunk and then the handler in the background; return a function that waits for the result."""

    def wait_all(self, machine: Machine) -> None:
        """Wait for everything that was started, and for what that starts. Raises the first error."""

    def open(self, subject: Value, machine: Machine) -> Callable[[Machine], bytes]:
        """Begin to read a file, or the output of a thunk; return a function that returns the next bytes of it."""

    def write(self, source: Value, destination: HostPath, machine: Machine) -> None:
        """Write what can be read from the source to a file of the host."""


class Machine:
    """Runs the code of one session. Several of its fibers may be under way, of which one runs at a time."""

    __slots__ = ("fuel", "ground", "host", "meter", "rebound", "run", "scope", "session")

    run: Code
    scope: Scope

    def __init__(self, session: SessionServices, host: Host, meter: Meter, ground: Scope) -> None:
        self.session = session
        self.host = host
        self.meter = meter
        self.ground = ground
        self.fuel = SLICE
        self.rebound: set[str] = set()

    def finish(self, result: Value) -> Value:
        """Return the value of what code returned: run the trampoline until there is one."""
        try:
            while result is TAIL:
                body, inner = self.run, self.scope
                self.fuel -= 1
                if self.fuel < 0:
                    self.refuel()
                result = body(inner, self)
        except BassError as error:
            error.add_tail_calls()
            raise
        return result

    def define(self, scope: Scope, name: str, value: Value) -> None:
        """Bind a name in a scope that code may run in."""
        scope.vars[name] = value
        if scope.grounded:
            self.rebound.add(name)

    def adopt(self, scope: Scope, parent: Scope) -> None:
        """Make a scope another parent of a scope that code may run in."""
        scope.parents = (*scope.parents, parent)
        if len(scope.parents) == 1 and parent.grounded:
            scope.grounded = True
            self.rebound.update(scope.vars)

    def step(self) -> None:
        """Count a step of a builtin that goes through many values. Raises `Exhausted`."""
        self.fuel -= 1
        if self.fuel < 0:
            self.refuel()

    def refuel(self) -> None:
        """Count a slice of steps that is used up, and let others run. Raises `Exhausted`."""
        self.meter.count(SLICE)
        self.fuel = SLICE
        parent = greenlet.getcurrent().parent
        if parent is not None:
            parent.switch(CHECKPOINT)

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        """Have something awaited by the driver; return its result, or raise its exception."""
        parent = greenlet.getcurrent().parent
        assert parent is not None, "only a fiber can wait"
        return parent.switch(awaitable)


class _Checkpoint:
    __slots__ = ()


CHECKPOINT: Final = _Checkpoint()
"""The request of a fiber that only wants to let others run."""


async def drive(
    machine: Machine, work: Callable[[], Value], checkpoint: Callable[[], Awaitable[object]]
) -> Value:
    """Run `work` in a fiber of the machine, await what it asks for, and return its result.

    When an awaitable raises, or is cancelled, the exception is raised in the fiber, where it waits, and from there on
    to the caller. Raises `BassError` for what goes wrong in the script.
    """
    fiber = greenlet.greenlet(work)
    fiber.gr_context = contextvars.copy_context()
    requested = _enter(machine, fiber.switch)
    while not fiber.dead:
        try:
            result = await (checkpoint() if requested is CHECKPOINT else requested)
        except BaseException as error:  # noqa: BLE001 - it goes on inside the fiber
            requested = _enter(machine, fiber.throw, error)
        else:
            requested = _enter(machine, fiber.switch, result)
    return requested


def _enter(machine: Machine, enter: Callable[..., Any], *values: Any) -> Any:
    """Run a fiber up to its next request, with as much of Python's stack as its budget allows."""
    meter = machine.meter
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, meter.frames))
    try:
        return enter(*values)
    except RecursionError:
        raise meter.too_deep() from None
    finally:
        sys.setrecursionlimit(limit)
