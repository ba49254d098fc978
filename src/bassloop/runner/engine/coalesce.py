"""Log bytes on their way to the loop: the first at once, then together what comes within a moment.

A message a line would cost more than the line. What waits is bounded: when the loop does not take it,
whoever writes waits, and so does the command.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MOMENT = 0.05
CHUNK_SIZE = 32 * 1024
WAITING = 4 * CHUNK_SIZE


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes of one stream, 1 for stdout and 2 for stderr."""

    stream: int
    data: bytes


class LogBatcher:
    """Collects pieces; :meth:`run` sends them on, in the order in which they came."""

    def __init__(self, send: Callable[[list[LogChunk]], Awaitable[None]]) -> None:
        self._send = send
        self._pieces: list[tuple[int, bytearray]] = []
        self._size = 0
        self._changed = trio.Event()
        self._room = trio.Event()
        self._closed = False

    async def add(self, stream: int, data: bytes) -> None:
        """Add bytes; waits while too much waits to be sent. Cancelled, nothing was added."""
        if not data:
            return
        while self._size >= WAITING:
            await self._room.wait()
        if self._pieces and self._pieces[-1][0] == stream:
            self._pieces[-1][1].extend(data)
        else:
            self._pieces.append((stream, bytearray(data)))
        self._size += len(data)
        self._changed.set()

    def close(self) -> None:
        """No more comes: :meth:`run` returns when all is sent."""
        self._closed = True
        self._changed.set()

    async def run(self) -> None:
        """Send until closed. An error of `send` ends it."""
        while True:
            while not self._size:
                if self._closed:
                    return
                self._changed = trio.Event()
                await self._changed.wait()
            pieces, self._pieces, self._size = self._pieces, [], 0
            self._room.set()
            self._room = trio.Event()
            await self._send([LogChunk(stream, bytes(data)) for stream, data in pieces])
            with trio.move_on_after(MOMENT):
                while self._size < CHUNK_SIZE and not self._closed:
                    self._changed = trio.Event()
                    await self._changed.wait()
