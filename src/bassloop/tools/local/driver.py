"""Drives a session without an event loop for as long as there is nothing to wait for, and then with Trio.

Most scripts that are evaluated at a prompt or in an editor never wait, and importing Trio takes longer than
all that they do. A coroutine that was begun without a loop is taken over as it is when it needs one.
"""

from __future__ import annotations

import contextvars
import types
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bassloop.tools.local.files import FileStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    import trio

    from bassloop.bass.host import ByteStream
    from bassloop.bass.session import Task
    from bassloop.bass.trio_driver import TrioDriver

T = TypeVar("T")


class Interrupted(Exception):
    """The person at the keyboard, or the system, ended the script."""


class _NeedLoop:
    """What a coroutine hands out when it cannot go on without an event loop."""

    def __await__(self) -> Generator[_NeedLoop, None, None]:
        yield self


_NEED_LOOP: Final = _NeedLoop()


class LateDriver:
    """A :class:`bassloop.bass.session.Driver`, for one call of :meth:`run`."""

    def __init__(self) -> None:
        self.nursery: trio.Nursery | None = None
        self._inner: TrioDriver | None = None
        self._context: contextvars.Context | None = None
        self._waiting: list[Callable[[TrioDriver], None]] = []

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a session's coroutine returns; what it started is cancelled then.

        Raises `Interrupted` when SIGINT or SIGTERM ended it while it waited.
        """
        try:
            asked = coroutine.send(None)
        except StopIteration as done:
            value: T = done.value
            return value
        assert asked is _NEED_LOOP, "the coroutine waited for something outside of the loop"
        import trio

        return trio.run(self._take_over, coroutine, strict_exception_groups=True)

    async def loop(self) -> None:
        """Return once there is an event loop."""
        if self._inner is None:
            await _NEED_LOOP

    async def checkpoint(self) -> None:
        """Let others run, if there can be others."""
        if self._inner is not None:
            await self._inner.checkpoint()

    def spawn(self, work: Callable[[], Awaitable[None]]) -> Task:
        """Begin something in the background, at the latest when something else waits."""
        return _LateTask(self, work)

    def open(self, stream: ByteStream) -> Callable[[], Awaitable[bytes]]:
        """Begin to read a stream; files of this machine need no loop for it."""
        if isinstance(stream, FileStream):
            return stream.pull
        opened: list[Callable[[], Awaitable[bytes]]] = []
        self.begin(lambda inner: opened.append(inner.open(stream)))

        async def pull() -> bytes:
            await self.loop()
            return await opened[0]()

        return pull

    def begin(self, what: Callable[[TrioDriver], None]) -> None:
        """Have something done now if there is a loop, otherwise as soon as there is."""
        if self._inner is None or self._context is None:
            self._waiting.append(what)
        else:
            # A script that was begun before the loop knows nothing of it; its tasks must.
            self._context.run(what, self._inner)

    async def _take_over(self, coroutine: Coroutine[Any, Any, T]) -> T:
        import signal

        import trio

        from bassloop.bass.trio_driver import TrioDriver
        from bassloop.bridge import open_bridge

        ended: list[T] = []
        raised: Exception | None = None
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with open_bridge(), trio.open_nursery() as nursery:

                async def interrupt() -> None:
                    async for _ in signals:
                        nursery.cancel_scope.cancel()

                nursery.start_soon(interrupt)
                self.nursery = nursery
                self._inner = TrioDriver(nursery)
                self._context = contextvars.copy_context()
                for begin in self._waiting:
                    begin(self._inner)
                self._waiting.clear()
                try:
                    ended.append(await _resumed(coroutine))
                except Exception as error:  # noqa: BLE001 - raised when the nursery is over
                    raised = error
                nursery.cancel_scope.cancel()
        if raised is not None:
            raise raised
        if not ended:
            raise Interrupted
        return ended[0]


class _LateTask:
    def __init__(self, driver: LateDriver, work: Callable[[], Awaitable[None]]) -> None:
        self._driver = driver
        self._task: Task | None = None
        driver.begin(lambda inner: setattr(self, "_task", inner.spawn(work)))

    async def wait(self) -> None:
        await self._driver.loop()
        assert self._task is not None
        await self._task.wait()


@types.coroutine
def _resumed(coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Go on with a coroutine that waits already, which `await` would refuse."""
    try:
        asked = coroutine.send(None)
        while True:
            try:
                answer = yield asked
            except BaseException as error:  # noqa: BLE001 - it goes on inside the coroutine
                asked = coroutine.throw(error)
            else:
                asked = coroutine.send(answer)
    except StopIteration as done:
        value: T = done.value
        return value
