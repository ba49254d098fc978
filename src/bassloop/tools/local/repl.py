"""The interpreter behind a prompt: a session under Trio, in a thread of its own.

The prompt runs in the main thread, which receives signals, and entries are evaluated in another thread. That way,
Ctrl-C can interrupt an endless loop, and tasks continue while the next entry is typed.

Ctrl-C doesn't raise an exception in the main thread, since that could be anywhere. Its handler records the interrupt
and cancels the evaluation, and the main thread checks for it while it waits.
"""

from __future__ import annotations

import contextvars
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

import click
import trio

from bassloop.bass.builtins import ground
from bassloop.bass.errors import BassError, ReadError, render
from bassloop.bass.json import encode
from bassloop.bass.path import HostPath
from bassloop.bass.printer import show
from bassloop.bass.reader import Reader, read_source
from bassloop.bass.session import Session
from bassloop.bass.source_text import SourceText
from bassloop.bass.stream import Sink
from bassloop.bass.trio_driver import TrioDriver
from bassloop.bass.values import Scope
from bassloop.bridge import open_bridge
from bassloop.tools.local.late_driver import LateDriver
from bassloop.tools.local.local_host import LocalHost
from bassloop.tools.local.script import OWN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from types import FrameType, TracebackType

    from bassloop.bass.machine import Machine
    from bassloop.bass.values import Value
    from bassloop.tools.local.late_driver import RuntimeOptions
    from bassloop.tools.local.local_host import LateImports


STACK: Final = 64 << 20
"""The thread's stack size in bytes. Nested calls need a large one; a main thread's stack would grow by itself."""

YIELD_EVERY: Final = 0.02
"""Seconds after which a script yields to the main thread."""

GRACE_SECONDS: Final = 1.0
"""Seconds after the first Ctrl-C from which a second one gives up on the evaluation."""


class EntryInterrupted(Exception):
    """An entry was interrupted."""


class Stuck(Exception):
    """An entry didn't end after Ctrl-C, and Ctrl-C was pressed again."""


class Gone(Exception):
    """The interpreter has crashed; the exception's cause is the error."""


class _YieldingDriver(LateDriver):
    """A driver that yields to the main thread now and then."""

    _yielded = 0.0

    async def checkpoint(self) -> None:
        # Trio releases the GIL so briefly that the main thread, which handles Ctrl-C,
        # could wait for seconds before it gets it.
        now = time.monotonic()
        if now > self._yielded + YIELD_EVERY:
            self._yielded = now
            time.sleep(0.0002)  # noqa: ASYNC251
        await super().checkpoint()


class _Evaluation:
    """A coroutine to run, and its outcome."""

    def __init__(self, begin: Callable[[], Awaitable[Value]]) -> None:
        self.begin: Final = begin
        self.scope: Final = trio.CancelScope()
        # A signal handler may call put while the same thread is in put.
        self._outcomes: SimpleQueue[tuple[Value, BaseException | None]] = SimpleQueue()

    def returned(self, value: Value) -> None:
        self._outcomes.put((value, None))

    def raised(self, error: BaseException) -> None:
        self._outcomes.put((None, error))

    def outcome(self) -> Value:
        """Wait for the first outcome, and return or raise it."""
        value, error = self._outcomes.get()
        if error is not None:
            raise error
        return value


class Evaluator:
    """Evaluates entries in one scope, one at a time. Use it as a context manager.

    On exit, it cancels everything that is still running.

    Args:
        options: how to run thunks.
        imports: functions that import the modules for that.
        say: prints one or more lines for people. It's called from another thread.
    """

    def __init__(
        self, options: RuntimeOptions, imports: LateImports, say: Callable[[str], None]
    ) -> None:
        self._driver = _YieldingDriver(imports.event_loop)
        self._session = Session(
            LocalHost(self._driver, imports.thunk_runner, options, say), self._driver, OWN
        )
        self._thread = threading.Thread(target=self._run, name="interpreter", daemon=True)
        self._ready: Future[trio.lowlevel.TrioToken] = Future()
        self._entries = 0
        self._end: trio.Event
        self._context: contextvars.Context
        self._evaluation: _Evaluation | None = None
        self._interrupted_at: float | None = None
        self._fault: BaseException | None = None
        self.scope = self._session.scope(
            HostPath("."), env=Scope(dict(os.environ)), stdout=Sink("stdout", _emit)
        )

    def __enter__(self) -> Evaluator:
        default = threading.stack_size(STACK)
        try:
            self._thread.start()
        finally:
            threading.stack_size(default)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(RuntimeError):  # it may have ended already
            self._ready.result().run_sync_soon(self._end.set)
        self._thread.join(5)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Make Ctrl-C interrupt the current entry, instead of raising KeyboardInterrupt.

        Only the main thread may call this.
        """
        previous = signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def reset(self) -> None:
        """Discard earlier interrupts; later ones apply to the next entry."""
        self._interrupted_at = None

    def evaluate(self, text: str) -> Iterator[Value]:
        """Yield the values of a text's forms as they are evaluated.

        Raises BassError, EntryInterrupted after Ctrl-C, Stuck after a second Ctrl-C if the first had no effect, and
        Gone.
        """
        self._entries += 1
        evaluate = ground().vars["eval"]
        for form in Reader(SourceText(text, f"<{self._entries}>")):
            yield self._wait_for(partial(self._session.call, evaluate, form, self.scope))

    def wait(self) -> None:
        """Wait until everything that was started has ended. Raises the same errors as `evaluate`."""
        self._wait_for(self._session.wait)

    def _wait_for(self, begin: Callable[[], Awaitable[Value]]) -> Value:
        """Run a coroutine of the session in the other thread, and return its result."""
        token = self._ready.result()
        self._evaluation = evaluation = _Evaluation(begin)
        try:
            # An interrupt before `_evaluation` is set is detected here; a later one cancels its scope.
            if self._interrupted_at is not None:
                raise EntryInterrupted
            try:
                token.run_sync_soon(self._begin, evaluation)
            except RuntimeError:
                raise Gone("the interpreter has ended") from self._fault
            return evaluation.outcome()
        finally:
            self._evaluation = None

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Cancel the evaluation. This is a signal handler: it may run between any two instructions."""
        now = time.monotonic()
        evaluation = self._evaluation
        if self._interrupted_at is None:
            self._interrupted_at = now
            if evaluation is not None:
                with suppress(RuntimeError):
                    self._ready.result().run_sync_soon(evaluation.scope.cancel)
        elif evaluation is not None and now > self._interrupted_at + GRACE_SECONDS:
            evaluation.raised(Stuck())

    # --- in the other thread ---

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:  # noqa: BLE001 - raised by the next evaluation
            self._fault = error
            if not self._ready.done():
                self._ready.set_exception(error)
        evaluation = self._evaluation
        if evaluation is not None:
            evaluation.raised(Gone("the interpreter has ended"))

    async def _serve(self) -> None:
        self._end = trio.Event()
        async with open_bridge(), trio.open_nursery() as nursery:
            self._context = contextvars.copy_context()
            self._driver.attach(TrioDriver(nursery), nursery, self._context)
            self._ready.set_result(trio.lowlevel.current_trio_token())
            await self._end.wait()
            nursery.cancel_scope.cancel()

    def _begin(self, evaluation: _Evaluation) -> None:
        nursery = self._driver.nursery
        assert nursery is not None
        # Callbacks from another thread lack the bridge in their context, but the tasks of entries need it.
        self._context.run(nursery.start_soon, self._evaluate, evaluation)

    async def _evaluate(self, evaluation: _Evaluation) -> None:
        try:
            with evaluation.scope:
                try:
                    evaluation.returned(await evaluation.begin())
                except Exception as error:  # noqa: BLE001 - raised where the entry was typed
                    evaluation.raised(error)
        finally:
            # Only the first outcome counts.
            evaluation.raised(EntryInterrupted())


def _emit(value: Value, machine: Machine) -> None:
    sys.stdout.write(f"{encode(value)}\n")
    sys.stdout.flush()


def shown(value: Value, limit: int | None = None) -> str:
    """Return a value as text, truncated to a length."""
    if limit is None:
        return show(value)
    text = show(value, limit=limit + 1)
    return text if len(text) <= limit else f"{text[:limit]}…"


def say(text: str) -> None:
    """Print a text for people on standard error, in one piece, since other threads print, too."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def follow(evaluator: Evaluator, lines: Iterable[str]) -> int:
    """Evaluate entries, print their values, wait for what they started, and return the exit status.

    The exit status is 1 if anything failed.
    """
    status = 0
    for text in entries(lines):
        try:
            for value in evaluator.evaluate(text):
                click.echo(shown(value))
        except BassError as error:
            click.echo(render(error), err=True)
            status = 1
    try:
        evaluator.wait()
    except BassError as error:
        click.echo(render(error), err=True)
        status = 1
    except EntryInterrupted:
        return 130
    return status


def entries(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines, joined where a form continues on the next ones."""
    pending = ""
    for line in lines:
        pending += line
        try:
            read_source(pending, "")
        except ReadError as error:
            if error.incomplete:
                continue
        if pending.strip():
            yield pending
        pending = ""
    if pending.strip():
        yield pending
