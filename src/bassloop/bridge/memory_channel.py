"""Channels without SSH, between two sessions in the same process.

    async with open_grpc_server([service]) as new_session:
        runtime = Runtime(..., open_channel=memory_opener(new_session))

Bytes arrive in order, in the next iteration of the loop. There's no backpressure, since HTTP/2 has its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import asyncssh

    from bassloop.bridge.grpc import Opener, SessionFactory


class MemoryChannel:
    """One end of a channel, with the methods of `asyncssh.SSHUNIXChannel` that sessions use."""

    def __init__(self, session: asyncssh.SSHUNIXSession[bytes]) -> None:
        self.session = session
        self.peer: MemoryChannel | None = None
        self.unread = 0
        """What `get_write_buffer_size` returns; set it to simulate a peer that doesn't read."""
        self._closed = False
        self._lost = False
        self._is_paused = False
        self._unread: list[bytes] = []

    def write(self, data: bytes) -> None:
        if self._closed:
            raise BrokenPipeError("the channel is closed")
        assert self.peer is not None
        asyncio.get_running_loop().call_soon(self.peer._deliver, data)

    def write_eof(self) -> None:
        assert self.peer is not None
        asyncio.get_running_loop().call_soon(self.peer.session.eof_received)

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            loop = asyncio.get_running_loop()
            assert self.peer is not None
            loop.call_soon(self.peer._end)
            loop.call_soon(self._end)

    close = abort

    def is_closing(self) -> bool:
        return self._closed

    def get_write_buffer_size(self) -> int:
        return self.unread

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        while self._unread and not self._is_paused:
            self._deliver(self._unread.pop(0))

    def _deliver(self, data: bytes) -> None:
        if self._is_paused:
            self._unread.append(data)
        elif not self._closed:
            self.session.data_received(data, None)

    def _end(self) -> None:
        self._closed = True
        if not self._lost:
            self._lost = True
            self.session.connection_lost(None)


def connect(
    one: asyncssh.SSHUNIXSession[bytes], other: asyncssh.SSHUNIXSession[bytes]
) -> tuple[MemoryChannel, MemoryChannel]:
    """Open a channel between two sessions. On the asyncio side."""
    left, right = MemoryChannel(one), MemoryChannel(other)
    left.peer, right.peer = right, left
    for channel in (left, right):
        channel.session.connection_made(cast(Any, channel))
        channel.session.session_started()
    return left, right


def memory_opener(new_session: SessionFactory) -> Opener:
    """Return an opener whose channels are connected to sessions of `new_session`."""

    async def open_channel(session_factory: SessionFactory) -> object:
        await asyncio.sleep(0)
        return connect(session_factory(), new_session())

    return open_channel
