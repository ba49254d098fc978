"""The interpreter behind a prompt: a session under Trio, in a thread of its own.

A prompt belongs to the main thread, where signals arrive; evaluating goes on in another one. So Ctrl-C reaches a
script that loops, and what was started goes on while the next entry is typed.

Ctrl-C must not raise anything in a conversation, since nobody knows what the main thread does just then: it is a
wish that is written down, which the interpreter hears of and the main thread finds when it waits.
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

from bassloop.bass.ground import ground
from bassloop.bass.json import encode
from bassloop.bass.path import HostPath
from bassloop.bass.printer import show
from bassloop.bass.ranges import SourceText
from bassloop.bass.reader import Reader
from bassloop.bass.scope import Scope
from bassloop.bass.session import Session
from bassloop.bass.stream import Sink
from bassloop.tools.local.driver import LateDriver
from bassloop.tools.local.host import LocalHost
from bassloop.tools.local.script import OWN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import FrameType, TracebackType

    import trio

    from bassloop.bass.machine import Machine
    from bassloop.bass.values import Value
    from bassloop.tools.local.runtime_options import RuntimeOptions

STACK: Final = 64 << 20
"""Bytes of stack for the thread, which nested calls of the language need; a main thread has as much as it wants."""

YIELD_EVERY: Final = 0.02
"""Seconds after which a script lets the main thread run."""


IMPATIENCE: Final = 1.0
"""Seconds after which a second Ctrl-C means more than the first."""


class Interrupted(Exception):
    """An entry was interrupted."""


class Stuck(Exception):
    """An entry was interrupted, goes on all the same, and whoever waits for it has lost patience."""


class Gone(Exception):
    """The interpreter has come to its end by a fault, which is the cause of this; nothing can be evaluated."""


class _Driver(LateDriver):
    """A driver whose loop is there before anything asks for one."""

    _yielded = 0.0

    def attach(self, nursery: trio.Nursery) -> None:
        from bassloop.bass.trio_driver import TrioDriver

        self.nursery = nursery
        self._inner = TrioDriver(nursery)
        self._context = contextvars.copy_context()

    async def checkpoint(self) -> None:
        # The loop lets go of the interpreter's lock for so short a time that the main thread, where Ctrl-C
        # arrives, could wait for seconds until it gets it.
        now = time.monotonic()
        if now > self._yielded + YIELD_EVERY:
            self._yielded = now
            time.sleep(0.0002)  # noqa: ASYNC251
        await super().checkpoint()


class _Work:
    """Something the interpreter is asked to do, and what came of it."""

    def __init__(self, begin: Callable[[], Awaitable[Value]]) -> None:
        import trio

        self.begin: Final = begin
        self.scope: Final = trio.CancelScope()
        # Its put may interrupt another one of the same thread, as a signal does.
        self._outcomes: SimpleQueue[tuple[Value, BaseException | None]] = SimpleQueue()

    def returned(self, value: Value) -> None:
        self._outcomes.put((value, None))

    def raised(self, error: BaseException) -> None:
        self._outcomes.put((None, error))

    def outcome(self) -> Value:
        """Wait for the first thing that was told."""
        value, error = self._outcomes.get()
        if error is not None:
            raise error
        return value


class Evaluator:
    """Evaluates entries in one scope, one after the other. Use it as a context manager.

    Leaving it cancels what was started and has not ended.

    Args:
        options: how thunks are run.
        say: takes what scripts tell people, a line or more at a time. It is called from another thread.
    """

    def __init__(self, options: RuntimeOptions, say: Callable[[str], None]) -> None:
        self._driver = _Driver()
        self._session = Session(LocalHost(self._driver, options, say), self._driver, OWN)
        self._thread = threading.Thread(target=self._run, name="interpreter", daemon=True)
        self._ready: Future[trio.lowlevel.TrioToken] = Future()
        self._entries = 0
        self._over: trio.Event
        self._context: contextvars.Context
        self._work: _Work | None = None
        self._asked_to_stop: float | None = None
        self._fault: BaseException | None = None
        self.scope = self._session.scope(
            HostPath("."), env=Scope(dict(os.environ)), stdout=Sink("stdout", _emit)
        )

    def __enter__(self) -> Evaluator:
        usual = threading.stack_size(STACK)
        try:
            self._thread.start()
        finally:
            threading.stack_size(usual)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(RuntimeError):  # it may have ended by itself
            self._ready.result().run_sync_soon(self._over.set)
        self._thread.join(5)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """While this is open, Ctrl-C interrupts the entry that is evaluated and raises nothing by itself.

        Only the main thread may open it. Without it Ctrl-C is a KeyboardInterrupt, as everywhere.
        """
        usual = signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, usual)

    def listen(self) -> None:
        """Forget earlier presses of Ctrl-C: those that follow are about the next entry."""
        self._asked_to_stop = None

    def evaluate(self, text: str) -> Iterator[Value]:
        """The values of a text's forms, as they come.

        Raises BassError for what is wrong with them, Interrupted for Ctrl-C, Stuck for a Ctrl-C that was pressed
        again because the first did not help, Gone.
        """
        self._entries += 1
        evaluate = ground().vars["eval"]
        for form in Reader(SourceText(text, f"<{self._entries}>")):
            yield self._awaited(partial(self._session.call, evaluate, form, self.scope))

    def wait(self) -> None:
        """Return when everything that was started is over. Raises as `evaluate` does."""
        self._awaited(self._session.wait)

    def _awaited(self, begin: Callable[[], Awaitable[Value]]) -> Value:
        """What a coroutine of the session returns, in the other thread."""
        token = self._ready.result()
        self._work = work = _Work(begin)
        try:
            # Whoever presses Ctrl-C before the work is known here is found by this, afterwards by its scope.
            if self._asked_to_stop is not None:
                raise Interrupted
            try:
                token.run_sync_soon(self._begin, work)
            except RuntimeError:
                raise Gone("the interpreter has ended") from self._fault
            return work.outcome()
        finally:
            self._work = None

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Have what is evaluated stopped. This is a signal's handler: it may run between any two instructions."""
        now = time.monotonic()
        work = self._work
        if self._asked_to_stop is None:
            self._asked_to_stop = now
            if work is not None:
                with suppress(RuntimeError):
                    self._ready.result().run_sync_soon(work.scope.cancel)
        elif work is not None and now > self._asked_to_stop + IMPATIENCE:
            work.raised(Stuck())

    # --- in the other thread ---

    def _run(self) -> None:
        import trio

        try:
            trio.run(self._serve)
        except BaseException as error:  # noqa: BLE001 - told to whoever evaluates next
            self._fault = error
            if not self._ready.done():
                self._ready.set_exception(error)
        work = self._work
        if work is not None:
            # It may have been asked for too late to be begun.
            work.raised(Gone("the interpreter has ended"))

    async def _serve(self) -> None:
        import trio

        from bassloop.bridge import open_bridge

        self._over = trio.Event()
        async with open_bridge(), trio.open_nursery() as nursery:
            self._driver.attach(nursery)
            self._context = contextvars.copy_context()
            self._ready.set_result(trio.lowlevel.current_trio_token())
            await self._over.wait()
            nursery.cancel_scope.cancel()

    def _begin(self, work: _Work) -> None:
        nursery = self._driver.nursery
        assert nursery is not None
        # Callbacks from other threads know nothing of the bridge; the tasks of entries must.
        self._context.run(nursery.start_soon, self._one, work)

    async def _one(self, work: _Work) -> None:
        try:
            with work.scope:
                try:
                    work.returned(await work.begin())
                except Exception as error:  # noqa: BLE001 - raised where the entry was typed
                    work.raised(error)
        finally:
            # What was told before this counts.
            work.raised(Interrupted())


def _emit(value: Value, machine: Machine) -> None:
    print(encode(value), flush=True)


def shown(value: Value, limit: int | None = None) -> str:
    """A value as it is shown to a person, cut to a length."""
    if limit is None:
        return show(value)
    text = show(value, limit=limit + 1)
    return text if len(text) <= limit else f"{text[:limit]}…"


def say(text: str) -> None:
    """Tell people something on standard error."""
    print(text, file=sys.stderr, flush=True)
