"""A session driver that starts without an event loop, and uses Trio as soon as a script waits for something.

Most scripts at a prompt or in an editor never wait, and importing Trio takes longer than running them. When a script
does wait, its running coroutine is handed over to Trio.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    import trio

    from bassloop.bass.host import ByteStream
    from bassloop.bass.session import SessionDriver, SessionEvent, Task

T = TypeVar("T")

READ_SIZE: Final = 1 << 16


class Interrupted(Exception):
    """SIGINT or SIGTERM ended the script."""


class EventLoop(Protocol):
    """The interface of the module `trio_loop`: an event loop that takes over a script that waits."""

    def take_over(self, driver: LateDriver, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the coroutine's result, and cancel the tasks that it started. Raises Interrupted."""

    async def read(self, descriptor: int) -> bytes:
        """Return the next bytes from a file descriptor, b"" at its end."""


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """The options for running a script's thunks.

    Args:
        sandbox: contain commands with bubblewrap: True, False, or None if it works here.
    """

    sandbox: bool | None = None


class ReadyStream(ABC):
    """A stream that can be read without an event loop, since its next piece is always there."""

    @abstractmethod
    async def pull(self) -> bytes:
        """Return the next piece, b"" at the end. Raises `BassError`."""


class _NeedLoop:
    """The request that a coroutine yields when it needs an event loop to continue."""

    def __await__(self) -> Generator[_NeedLoop, None, None]:
        yield self


_NEED_LOOP: Final = _NeedLoop()


class LateDriver:
    """A :class:`bassloop.bass.session.SessionDriver`, for one call of :meth:`run`.

    Args:
        load_loop: imports and returns the event loop. It's called when one is needed.
    """

    def __init__(self, load_loop: Callable[[], EventLoop]) -> None:
        self._load_loop = load_loop
        self.nursery: trio.Nursery | None = None
        self._inner: SessionDriver | None = None
        self._context: contextvars.Context | None = None
        self._waiting: list[Callable[[SessionDriver], None]] = []

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the result of a session's coroutine, and cancel the tasks that it started.

        Raises Interrupted if SIGINT or SIGTERM ended it while it was waiting.
        """
        try:
            request = coroutine.send(None)
        except StopIteration as done:
            value: T = done.value
            return value
        assert request is _NEED_LOOP, "the coroutine waited for something outside of the loop"
        return self._load_loop().take_over(self, coroutine)

    def attach(
        self, inner: SessionDriver, nursery: trio.Nursery, context: contextvars.Context
    ) -> None:
        """Continue with an event loop: start the tasks that wait for one.

        Args:
            context: the context of the task that runs the loop, which contains the bridge to asyncio.
        """
        self.nursery, self._inner, self._context = nursery, inner, context
        for begin in self._waiting:
            begin(inner)
        self._waiting.clear()

    async def loop(self) -> None:
        """Wait until there is an event loop."""
        if self._inner is None:
            await _NEED_LOOP

    async def checkpoint(self) -> None:
        """Let other tasks run, if there can be any."""
        if self._inner is not None:
            await self._inner.checkpoint()

    async def read(self, descriptor: int) -> bytes:
        """Return the next bytes from a file descriptor, without blocking other tasks."""
        if self._inner is None:
            return os.read(descriptor, READ_SIZE)
        return await self._load_loop().read(descriptor)

    def spawn(self, work: Callable[[], Awaitable[None]]) -> Task:
        """Start a task: at once if there is a loop, otherwise when some task waits."""
        return _LateTask(self, work)

    def open(self, stream: ByteStream) -> Callable[[], Awaitable[bytes]]:
        """Start reading a stream. A :class:`ReadyStream` doesn't need a loop for that."""
        if isinstance(stream, ReadyStream):
            return stream.pull
        opened: list[Callable[[], Awaitable[bytes]]] = []
        self.begin(lambda inner: opened.append(inner.open(stream)))

        async def pull() -> bytes:
            await self.loop()
            return await opened[0]()

        return pull

    def event(self) -> SessionEvent:
        """Return a new event. There is a loop, since nothing else starts a second fiber."""
        assert self._inner is not None
        return self._inner.event()

    def begin(self, start: Callable[[SessionDriver], None]) -> None:
        """Call `start` now if there is a loop, else as soon as there is one."""
        if self._inner is None or self._context is None:
            self._waiting.append(start)
        else:
            # A script that started before the loop has a context without the bridge.
            self._context.run(start, self._inner)


class _LateTask:
    def __init__(self, driver: LateDriver, work: Callable[[], Awaitable[None]]) -> None:
        self._driver = driver
        self._task: Task | None = None
        driver.begin(lambda inner: setattr(self, "_task", inner.spawn(work)))

    async def wait(self) -> None:
        await self._driver.loop()
        assert self._task is not None
        await self._task.wait()
