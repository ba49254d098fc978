"""The socket to the daemon, in the process that evaluates a hook, and the fibers that wait for its answers.

A session's coroutines need no event loop: when none of them can continue, the process waits for the next answer.
Nothing is ever cancelled here; a process that isn't needed any more is killed.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from bassloop import bass
from bassloop.evaluator.conversation import size_of
from bassloop.evaluator.messages import (
    MAX_BYTES,
    MAX_BYTES_UNDER_WAY,
    MAX_MESSAGE,
    MAX_MESSAGES,
    MAX_UNDER_WAY,
    PIECE,
    Answer,
    AnyCall,
    Data,
    Describe,
    Done,
    Entries,
    Evaluate,
    Idle,
    Log,
    Message,
    MessageReader,
    Refusal,
    ToProcess,
    frames,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator

    from bassloop.bass import ByteStream


T = TypeVar("T")

_RESERVED: Final = 2 * MAX_UNDER_WAY
"""Messages that are reserved for after the last call: that the process waits, and how it ended."""

_LONGEST_LOG: Final = MAX_MESSAGE // 5
"""The maximum length of a script's message, in characters."""

_READ: Final = 1 << 18

Answered = bytes | tuple[tuple[str, bool], ...]
"""The answer to a call."""


class Pending(Generic[T]):
    """A future result, which any number of fibers may await."""

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
        """Wait until there is a result or an error."""
        if not self.over:
            await _Until(self)

    def get(self) -> T:
        """Return the result, or raise the error."""
        if self._error is not None:
            raise self._error
        return self._result

    def succeed(self, result: T) -> None:
        """Set the result."""
        self.over, self._result = True, result

    def fail(self, error: BaseException) -> None:
        """Set the error."""
        self.over, self._error = True, error


class _Until:
    """Waits for a future, without raising its error; without one, lets the other fibers run once."""

    __slots__ = ("_pending",)

    def __init__(self, pending: Pending[Any] | None) -> None:
        self._pending = pending

    def __await__(self) -> Generator[Pending[Any] | None, None, None]:
        yield self._pending


class _Fiber:
    """A coroutine, and the future for its result."""

    __slots__ = ("coroutine", "end")

    def __init__(self, coroutine: Coroutine[Any, None, Any]) -> None:
        self.coroutine = coroutine
        self.end: Pending[Any] = Pending()


class Fibers:
    """A :class:`bassloop.bass.SessionDriver`.

    Args:
        wait: waits until one of the pending futures is done, and calls `resume`.
    """

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait = wait
        self._ready: deque[_Fiber] = deque()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine, and the fibers that it spawns, until it is done."""
        end = self._start(coroutine)
        while not end.over:
            if self._ready:
                self._step(self._ready.popleft())
            else:
                self._wait()
        return end.get()

    def resume(self, pending: Pending[Any]) -> None:
        """Resume the fiber that waits for this future, which is done."""
        self._ready.extend(pending.waiting)
        pending.waiting.clear()

    async def checkpoint(self) -> None:
        """Let the other fibers run."""
        await _Until(None)

    def spawn(self, work: Callable[[], Awaitable[None]]) -> Pending[None]:
        """Run a coroutine in the background."""

        async def fiber() -> None:
            await work()

        return self._start(fiber())

    def open(self, stream: ByteStream) -> Callable[[], Awaitable[bytes]]:
        """Start reading a stream, and return a function that returns its next piece, b"" at the end."""
        opened: Pending[AsyncIterator[bytes]] = self._start(_enter(stream))

        async def pull() -> bytes:
            pieces = await opened
            async for piece in pieces:
                if piece:
                    return piece
            return b""

        return pull

    def event(self) -> FiberEvent:
        """Return a new event."""
        return FiberEvent(self)

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


class FiberEvent:
    """An event that fibers may wait for."""

    def __init__(self, fibers: Fibers) -> None:
        self._fibers = fibers
        self._set: Pending[None] = Pending()

    def set(self) -> None:
        """Resume the fibers that wait."""
        self._set.succeed(None)
        self._fibers.resume(self._set)

    async def wait(self) -> None:
        """Wait until it is set."""
        await self._set


async def _enter(stream: ByteStream) -> AsyncIterator[bytes]:
    # It's never exited, since it ends with the process.
    return await stream.__aenter__()


class DaemonGone(Exception):
    """The daemon has closed its end, and so doesn't need the result."""


class Link:
    """Sends messages to the daemon and receives its answers.

    It enforces the limits of :mod:`.messages`, so that a script that exceeds one gets an error that says so.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.fibers = Fibers(self._wait)
        self._socket = connection
        self._reader: MessageReader[ToProcess] = MessageReader(ToProcess)
        self._calls: dict[int, tuple[Pending[Answered], int]] = {}
        self._room: Pending[None] = Pending()
        self._last_call = 0
        self._received = 0
        self._sent = 0
        self._bytes_sent = 0
        self._bytes_under_way = 0

    def first(self) -> Evaluate | Describe:
        """Wait for the daemon's first message, and return it. Raises DaemonGone."""
        messages: list[ToProcess] = []
        while not messages:
            messages = self._reader.feed(self._receive())
        self._received += 1
        [request] = messages
        assert isinstance(request, Evaluate | Describe)
        return request

    def send(self, message: Message) -> None:
        """Send a message that needs no answer. Raises DaemonGone."""
        try:
            for data in frames(message):
                self._sent += 1
                self._bytes_sent += len(data)
                self._socket.sendall(data)
        except OSError as error:
            raise DaemonGone from error

    async def call(self, kind: Callable[..., AnyCall], *fields: object) -> tuple[int, Answered]:
        """Send a call, and return its number and its answer.

        Waits while too many calls are under way. Raises BassError if it is refused, or can't be made.
        """
        while True:
            call = kind(self._last_call + 1, *fields)
            size = size_of(call)
            if not self._calls or (
                len(self._calls) < MAX_UNDER_WAY
                and self._bytes_under_way + size <= MAX_BYTES_UNDER_WAY
            ):
                break
            await self._room
        if (
            self._sent + size // PIECE + _RESERVED > MAX_MESSAGES
            or self._bytes_sent + size + 2 * MAX_MESSAGE > MAX_BYTES
        ):
            raise bass.BassError(
                f"the hook asked the loop for too much: the limit is {MAX_MESSAGES:,} messages, or "
                f"{MAX_BYTES >> 20} MiB"
            )
        answer: Pending[Answered] = Pending()
        self._last_call = call.call
        self._calls[call.call] = (answer, size)
        self._bytes_under_way += size
        self.send(call)
        return call.call, await answer

    async def ask(self, kind: Callable[..., AnyCall], *fields: object) -> bytes:
        """Send a call, and return its answer's bytes. Raises BassError like `call`."""
        _, answer = await self.call(kind, *fields)
        assert isinstance(answer, bytes)
        return answer

    def log(self, message: str, fields: str = "") -> None:
        """Send a script's message, unless the limit on messages is reached."""
        size = len(message) + len(fields)
        if (
            self._sent + _RESERVED < MAX_MESSAGES
            and self._bytes_sent + 4 * size + 2 * MAX_MESSAGE < MAX_BYTES
        ):
            self.send(Log(message[:_LONGEST_LOG], fields[: _LONGEST_LOG // 8]))

    # --- inside ---

    def _wait(self) -> None:
        """Wait for messages, and resume the fibers that waited for them."""
        if not self._calls:
            raise bass.BassError("the script waits for itself: nothing is left that could go on")
        try:
            data = self._receive(socket.MSG_DONTWAIT)
        except BlockingIOError:
            self.send(Idle(self._received))
            data = self._receive()
        for message in self._reader.feed(data):
            self._received += 1
            self._answer(message)

    def _answer(self, message: ToProcess) -> None:
        assert isinstance(message, Answer)
        pending, size = self._calls.pop(message.call)
        self._bytes_under_way -= size
        match message:
            case Refusal():
                pending.fail(bass.BassError(message.why))
            case Entries():
                pending.succeed(message.entries)
            case Data():
                pending.succeed(message.content)
            case Done():
                pending.succeed(b"")
        self.fibers.resume(pending)
        room, self._room = self._room, Pending()
        room.succeed(None)
        self.fibers.resume(room)

    def _receive(self, flags: int = 0) -> bytes:
        try:
            data = self._socket.recv(_READ, flags)
        except BlockingIOError:
            raise
        except OSError as error:
            raise DaemonGone from error
        if not data:
            raise DaemonGone
        return data
