"""The machine: runs compiled forms, counts steps, and lets other tasks run at intervals.

A machine does no I/O. Code runs in fibers (greenlets). A fiber passes each awaitable to the coroutine that runs it
(`drive`), and is resumed with the result.

Tail calls use a trampoline. Code in tail position doesn't run the body of what it calls: it stores the body and its
scope in two registers, `Machine.tail_code` and `Machine.tail_scope`, and returns `TAIL`. `Machine.finish` runs bodies
until one returns a value. All other calls nest on Python's stack, whose frames for Python functions are on the heap. If
they nest too deep, `Exhausted` is raised.
"""

from __future__ import annotations

import contextvars
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar, final

import greenlet

from bassloop.bass.errors import BassError, Exhausted
from bassloop.bass.filesystem import NotRead
from bassloop.bass.values import Sentinel
from bassloop.bass.wire.encode import read_files

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bassloop.bass.errors import Mismatch
    from bassloop.bass.host import Host
    from bassloop.bass.memo_file import MemoKey
    from bassloop.bass.path import HostPath
    from bassloop.bass.thunk import Thunk
    from bassloop.bass.values import Scope, Value
    from bassloop.wire import bass_pb2 as pb


T = TypeVar("T")
Code: TypeAlias = "Callable[[Scope, Machine], Value]"
"""A compiled form: called with the scope to evaluate it in, and the machine that runs it."""

Binder: TypeAlias = "Callable[[Scope, Value, Machine], Mismatch | None]"
"""A compiled pattern: binds its names in a scope to parts of a value. Returns why the value doesn't match, or None.

Names that were bound before a mismatch stay bound.
"""


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of a session.

    * `steps`: calls, and values that builtins call a function with.
    * `output`: bytes of UTF-8 that the script logs, or prints with `dump` and `doc`. Each message counts
      `MESSAGE_BYTES` more, so that empty ones count, too.
    * `depth`: nested calls that aren't in tail position; simple calls can nest deeper.

    `setting` is the setting to name in messages, with `{}` in place of the exhausted limit in capitals; "" for none.
    """

    steps: int = 50_000_000
    output: int = 1 << 20
    depth: int = 20_000
    setting: str = ""


FRAMES_PER_CALL: Final = 16
"""The Python frames that a nested call takes, generously estimated."""

MESSAGE_BYTES: Final = 64
"""What a message counts besides its text, in bytes."""


@final
class Meter:
    """Counts a session's use of its budget. Once a limit is exceeded, all further use of it raises `Exhausted`."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.recursion_limit = budget.depth * FRAMES_PER_CALL
        self.steps = 0
        self.output = 0

    def count(self, steps: int) -> None:
        """Count steps. Raises `Exhausted`."""
        self.steps += steps
        if self.steps > self.budget.steps:
            raise self._spent("steps", f"the script took more than {self.budget.steps:,} steps")

    def write(self, *texts: str) -> None:
        """Count a message that consists of these texts. Raises `Exhausted`."""
        self.output += MESSAGE_BYTES
        self.output += sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        if self.output > self.budget.output:
            text = f"the script wrote more than {self.budget.output:,} bytes"
            raise self._spent("output", f"{text}, counting {MESSAGE_BYTES} more for each message")

    def too_deep(self) -> Exhausted:
        """Return the error for calls that nest too deep."""
        return self._spent(
            "depth",
            "the script nests its calls too deep; put the call in tail position, or use foldl",
        )

    def _spent(self, budget: str, text: str) -> Exhausted:
        setting = self.budget.setting.format(budget.upper())
        fix = f"; {setting} is the limit" if setting else ""
        return Exhausted(budget, f"{text}: its budget ({budget}) is used up{fix}")


TAIL: Final = Sentinel("TAIL")
"""What code returns after storing a call in the trampoline's registers (see above)."""


SLICE: Final = 2_000
"""Steps between two checkpoints: a few milliseconds."""


class SessionServices(Protocol):
    """The session's services for builtins: loading modules, running thunks, reading and writing files."""

    @property
    def written_memos(self) -> dict[tuple[str, str], list[tuple[MemoKey, pb.Value]]]:
        """The memos that the session has stored, by their file's context and path."""

    def module(self, thunk: Thunk, machine: Machine) -> Scope:
        """Return the scope of a Bass thunk's module, loading it the first time."""

    def run(self, thunk: Thunk, machine: Machine) -> None:
        """Run a thunk: a Bass script in this session, anything else on the host."""

    def start(self, thunk: Thunk, handler: Value, machine: Machine) -> Callable[[Machine], Value]:
        """Run a thunk and then its handler in the background. Return a function that waits for the handler's result."""

    def wait_all(self, machine: Machine) -> None:
        """Wait for all started thunks, including those that are started meanwhile. Raises the first error."""

    def open(self, subject: Value, machine: Machine) -> Callable[[Machine], bytes]:
        """Start reading a file or a thunk's output. Return a function that returns the next bytes, b"" at the end."""

    def write(self, source: Value, destination: HostPath, machine: Machine) -> None:
        """Write a file's content or a thunk's output to a file of the host."""


class Machine:
    """Runs the code of one session. It can have several fibers, of which one runs at a time.

    Attributes:
        tail_code, tail_scope: the trampoline's registers; valid only after code has returned `TAIL`.
        fuel: the steps that are left before the next checkpoint.
        shadowed: names that a scope below Ground binds. If a name isn't among them, it means the same as in Ground in
            all scopes that descend from it, so calls of builtins by such names can skip the lookup. A name is never
            removed, and may be one that Ground doesn't bind.
        reified: how often code has got a scope that it runs in as a value. Only with such a scope can one become its
            own ancestor.
    """

    __slots__ = (
        "fuel", "ground", "host", "meter", "reified", "session", "shadowed", "tail_code", "tail_scope",
    )  # fmt: skip

    tail_code: Code
    tail_scope: Scope

    def __init__(self, session: SessionServices, host: Host, meter: Meter, ground: Scope) -> None:
        self.session = session
        self.host = host
        self.meter = meter
        self.ground = ground
        self.fuel = SLICE
        self.shadowed: set[str] = set()
        self.reified = 0

    def finish(self, result: Value) -> Value:
        """Return the value of a call, given what its code returned: run the trampoline while that is `TAIL`."""
        try:
            while result is TAIL:
                body, scope = self.tail_code, self.tail_scope
                self.fuel -= 1
                if self.fuel < 0:
                    self.refuel()
                result = body(scope, self)
        except BassError as error:
            error.add_tail_calls()
            raise
        return result

    def define(self, scope: Scope, name: str, value: Value) -> None:
        """Bind a name in a scope that code may run in."""
        scope.vars[name] = value
        if scope.grounded:
            self.shadowed.add(name)

    def add_parent(self, scope: Scope, parent: Scope) -> None:
        """Add a parent to a scope that code may run in. Once it descends from Ground, its names shadow Ground's."""
        scope.parents = (*scope.parents, parent)
        if len(scope.parents) == 1 and parent.grounded:
            scope.grounded = parent.grounded is True
            self.shadowed.update(scope.vars)

    def step(self) -> None:
        """Count a step of a builtin that iterates over values. Raises `Exhausted`."""
        self.fuel -= 1
        if self.fuel < 0:
            self.refuel()

    def refuel(self) -> None:
        """Start the next slice of steps, after letting other tasks run. Raises `Exhausted`."""
        self.meter.count(SLICE)
        self.fuel = SLICE
        parent = greenlet.getcurrent().parent
        if parent is not None:
            parent.switch(CHECKPOINT)

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        """Suspend the fiber while the driver awaits something. Return the result, or raise the exception."""
        parent = greenlet.getcurrent().parent
        assert parent is not None, "only a fiber can wait"
        return parent.switch(awaitable)

    def with_files(self, compute: Callable[[], T], *values: Value) -> T:
        """Return the result of `compute`, which encodes `values`.

        If these have files of the host that haven't been read yet, read all of them and compute it again.
        """
        try:
            return compute()
        except NotRead:
            for value in values:
                self.wait(read_files(value))
            return compute()


CHECKPOINT: Final = Sentinel("CHECKPOINT")
"""What a fiber passes to its driver instead of an awaitable to let other tasks run."""


async def drive(
    machine: Machine, work: Callable[[], Value], checkpoint: Callable[[], Awaitable[object]]
) -> Value:
    """Run `work` in a fiber of the machine, await what it requests, and return its result.

    If an awaitable raises or is cancelled, the exception is raised in the fiber, at the point where it waits, and
    propagates from there to the caller. Raises `BassError` for errors of the script.
    """
    fiber = greenlet.greenlet(work)
    fiber.gr_context = contextvars.copy_context()
    requested = _enter(machine, fiber.switch)
    while not fiber.dead:
        try:
            result = await (checkpoint() if requested is CHECKPOINT else requested)
        except BaseException as error:  # noqa: BLE001 - raised in the fiber
            requested = _enter(machine, fiber.throw, error)
        else:
            requested = _enter(machine, fiber.switch, result)
    return requested


def _enter(machine: Machine, enter: Callable[..., Any], *values: Any) -> Any:
    """Resume a fiber until its next request, with the recursion limit that its budget allows."""
    meter = machine.meter
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, meter.recursion_limit))
    try:
        return enter(*values)
    except RecursionError:
        raise meter.too_deep() from None
    finally:
        sys.setrecursionlimit(limit)
