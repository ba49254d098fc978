"""The socket to the daemon, in the process that evaluates a hook: calls, and their answers."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from bassloop import bass
from bassloop.evaluator.conversation import size_of
from bassloop.evaluator.fibers import Fibers, Pending
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
    from collections.abc import Callable

_RESERVED: Final = 2 * MAX_UNDER_WAY
"""Messages that are left for what comes after the last call: that it waits, and how it ended."""

_LONGEST_LOG: Final = MAX_MESSAGE // 5
"""Characters of a message of the script."""

_READ: Final = 1 << 18

Answered = bytes | tuple[tuple[str, bool], ...]
"""The answer to a call."""


class DaemonGone(Exception):
    """The daemon has closed its end: nobody wants to know the result."""


class Link:
    """Sends messages to the daemon and receives its answers. Keeps to the limits of :mod:`.messages`, so that
    a script that wants too much hears of it in words.
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
        """Wait for what is to be done, and return it. Raises DaemonGone."""
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
        """Send a call; return its number, and what it is answered with.

        Waits while too many are under way. Raises BassError if it is refused, or can't be made.
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
                f"the hook asked the loop for too much: {MAX_MESSAGES:,} times, or for "
                f"{MAX_BYTES >> 20} MiB, is the most"
            )
        answer: Pending[Answered] = Pending()
        self._last_call = call.call
        self._calls[call.call] = (answer, size)
        self._bytes_under_way += size
        self.send(call)
        return call.call, await answer

    async def ask(self, kind: Callable[..., AnyCall], *fields: object) -> bytes:
        """Send a call, and return the bytes that it is answered with. Raises BassError as `call` does."""
        _, answer = await self.call(kind, *fields)
        assert isinstance(answer, bytes)
        return answer

    def log(self, message: str, fields: str = "") -> None:
        """Send a message of the script, if there is room for it."""
        size = len(message) + len(fields)
        if (
            self._sent + _RESERVED < MAX_MESSAGES
            and self._bytes_sent + 4 * size + 2 * MAX_MESSAGE < MAX_BYTES
        ):
            self.send(Log(message[:_LONGEST_LOG], fields[: _LONGEST_LOG // 8]))

    # --- inside ---

    def _wait(self) -> None:
        """Wait for messages, and let those fibers go on that waited for them."""
        if not self._calls:
            raise bass.BassError("the script waits for something that it has to do itself")
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
