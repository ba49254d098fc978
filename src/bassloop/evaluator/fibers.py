"""Runs a session's coroutines in a process that talks to one socket: no event loop is needed.

Whenever nothing can go on, the process waits for the next answer. Nothing is ever cancelled here: a process that
is not wanted any more is killed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator

    from bassloop.bass import ByteStream

T = TypeVar("T")


class Pending(Generic[T]):
    """A result that will be there later. Any number of fibers may await it."""

    __slots__ = ("_error", "_result", "over", "waiting")

    def __init__(self) -> None:
        self.over = False
        self.waiting: list[_Fiber] = []
        self._result: T
        self._error: BaseException | None = None

    def __await__(self) -> Generator[Pending[T], None, T]:
        if not self.over:
            yield self
        return self.get()

    async def wait(self) -> None:
        """Return when it is there, whether it is a result or an error."""
        if not self.over:
            await _Until(self)

    def get(self) -> T:
        """Return the result that is there, or raise the error."""
        if self._error is not None:
            raise self._error
        return self._result

    def succeed(self, result: T) -> None:
        """End with a result."""
        self.over, self._result = True, result

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        self.over, self._error = True, error


class _Until:
    """Waits until something is over, without raising its error; until others have run, if there is nothing."""

    __slots__ = ("_pending",)

    def __init__(self, pending: Pending[Any] | None) -> None:
        self._pending = pending

    def __await__(self) -> Generator[Pending[Any] | None, None, None]:
        yield self._pending


class _Fiber:
    """A coroutine, and the result that others wait for."""

    __slots__ = ("coroutine", "end")

    def __init__(self, coroutine: Coroutine[Any, None, Any]) -> None:
        self.coroutine = coroutine
        self.end: Pending[Any] = Pending()


class Fibers:
    """A :class:`bassloop.bass.SessionDriver`.

    Args:
        wait: waits until something pending is over, and tells `resume`.
    """

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait = wait
        self._ready: deque[_Fiber] = deque()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine, and what it spawns meanwhile, until it is over."""
        end = self._start(coroutine)
        while not end.over:
            if self._ready:
                self._step(self._ready.popleft())
            else:
                self._wait()
        return end.get()

    def resume(self, pending: Pending[Any]) -> None:
        """Let go on what waits for this, which is over."""
        self._ready.extend(pending.waiting)
        pending.waiting.clear()

    async def checkpoint(self) -> None:
        """Let the other fibers run."""
        await _Until(None)

    def spawn(self, work: Callable[[], Awaitable[None]]) -> Pending[None]:
        """Begin something in the background."""

        async def fiber() -> None:
            await work()

        return self._start(fiber())

    def open(self, stream: ByteStream) -> Callable[[], Awaitable[bytes]]:
        """Begin to read a stream; return what gives its next piece, b"" at the end."""
        opened: Pending[AsyncIterator[bytes]] = self._start(_enter(stream))

        async def pull() -> bytes:
            pieces = await opened
            async for piece in pieces:
                if piece:
                    return piece
            return b""

        return pull

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> Pending[T]:
        fiber = _Fiber(coroutine)
        self._ready.append(fiber)
        return fiber.end

    def _step(self, fiber: _Fiber) -> None:
        try:
            pending = fiber.coroutine.send(None)
        except StopIteration as stop:
            fiber.end.succeed(stop.value)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            fiber.end.fail(error)
        else:
            if pending is None or pending.over:
                self._ready.append(fiber)
            else:
                pending.waiting.append(fiber)
            return
        self.resume(fiber.end)


async def _enter(stream: ByteStream) -> AsyncIterator[bytes]:
    # It ends with the process, so nothing is lost when it is never left.
    return await stream.__aenter__()
