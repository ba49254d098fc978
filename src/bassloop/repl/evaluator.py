"""The interpreter behind a prompt: a session under Trio, in a thread of its own.

A prompt belongs to the main thread, where signals arrive; evaluating goes on in another one. So Ctrl-C reaches a
script that loops, and what was started goes on while the next entry is typed.
"""

from __future__ import annotations

import contextvars
import os
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from bassloop.bass.ground import ground
from bassloop.bass.jsonform import encode
from bassloop.bass.paths import HostPath
from bassloop.bass.printer import show
from bassloop.bass.reader import Reader
from bassloop.bass.scope import Scope
from bassloop.bass.session import Session
from bassloop.bass.source import Source
from bassloop.bass.stream import Sink
from bassloop.local.driver import LateDriver
from bassloop.local.host import LocalHost
from bassloop.local.script import OWN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import TracebackType

    import trio

    from bassloop.bass.machine import Machine
    from bassloop.bass.values import Value
    from bassloop.local.runtime_options import RuntimeOptions

STACK: Final = 64 << 20
"""Bytes of stack for the thread, which nested calls of the language need; a main thread has as much as it wants."""

YIELD_EVERY: Final = 0.02
"""Seconds after which a script lets the main thread run."""


class Interrupted(Exception):
    """An entry was interrupted."""


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
        self._cancelling: trio.CancelScope | None = None
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

    def evaluate(self, text: str) -> Iterator[Value]:
        """The values of a text's forms, as they come.

        Raises BassError for what is wrong with them, Interrupted for Ctrl-C, Gone.
        """
        self._entries += 1
        evaluate = ground().vars["eval"]
        for form in Reader(Source(text, f"<{self._entries}>")):
            yield self._awaited(partial(self._session.call, evaluate, form, self.scope))

    def wait(self) -> None:
        """Return when everything that was started is over. Raises as `evaluate` does."""
        self._awaited(self._session.wait)

    def _awaited(self, work: Callable[[], Awaitable[Value]]) -> Value:
        """What a coroutine of the session returns, in the other thread."""
        token = self._ready.result()
        future: Future[Value] = Future()
        try:
            token.run_sync_soon(self._begin, work, future)
        except RuntimeError:
            raise Gone("the interpreter has ended") from self._fault
        try:
            return future.result()
        except KeyboardInterrupt:
            token.run_sync_soon(self._cancel)
            # Whoever presses it again wants to leave, even if the script does not listen.
            return future.result()

    # --- in the other thread ---

    def _run(self) -> None:
        import trio

        try:
            trio.run(self._serve)
        except BaseException as error:  # noqa: BLE001 - told to whoever evaluates next
            self._fault = error
            if not self._ready.done():
                self._ready.set_exception(error)

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

    def _begin(self, work: Callable[[], Awaitable[Value]], future: Future[Value]) -> None:
        nursery = self._driver.nursery
        assert nursery is not None
        # Callbacks from other threads know nothing of the bridge; the tasks of entries must.
        self._context.run(nursery.start_soon, self._one, work, future)

    async def _one(self, work: Callable[[], Awaitable[Value]], future: Future[Value]) -> None:
        import trio

        try:
            with trio.CancelScope() as self._cancelling:
                try:
                    future.set_result(await work())
                except Exception as error:  # noqa: BLE001 - raised where the entry was typed
                    future.set_exception(error)
        finally:
            self._cancelling = None
            if not future.done():
                future.set_exception(Interrupted())

    def _cancel(self) -> None:
        if self._cancelling is not None:
            self._cancelling.cancel()


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
