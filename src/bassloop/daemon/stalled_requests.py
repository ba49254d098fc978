"""Requests that would wait forever in Hypercorn: each ends, and nothing waits for its client.

- A reader may stop reading. The kernel ends a connection whose peer acknowledges nothing. That isn't enough for HTTP/2,
  where a reader can acknowledge each byte, and still permit no more of a response to be sent (flow control, RFC 9113,
  section 5.2). So responses have a limit of their own. One that makes any progress, however slow, isn't ended.
- A request may be answered before all of its body has arrived, since an endpoint may refuse it by its headers. In
  Hypercorn, the rest of the body is put in the queue of an application that doesn't read any more. Once that is full,
  the task that reads the connection waits forever, and stays in memory even after the connection has been closed. On
  HTTP/2, a body that arrives after its response ends the connection, with the responses to all other requests. Here,
  the rest is dropped.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import sys
import termios
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import hypercorn.protocol
import trio
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.protocol import h2
from hypercorn.protocol.events import Body, EndBody, StreamClosed
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer
from hypercorn.trio import tcp_server
from hypercorn.trio.task_group import TaskGroup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from hypercorn.events import Event as ConnectionEvent
    from hypercorn.protocol.events import Event


SLOW_SECONDS = 30.0
"""The default time limit for a response that makes no progress, in seconds."""

CHECKS = 4
"""How many times in that time a response is checked. One more check without progress ends it."""

TRANSPORT = "bassloop.transport"
"""The key of a connection's state whose value is a function that returns its `Transport` now."""

_BYTES_ACKED = 120
"""The offset of `tcpi_bytes_acked`, of 8 bytes, in the kernel's `struct tcp_info`."""

DROPPED_BYTES = 32 << 20
"""The limit on bytes of bodies that arrive on an HTTP/2 connection after their responses. A webhook's body fits."""

LEAST_BYTES = 1 << 10
"""The number of bytes that a smaller frame counts as, because the smallest ones cost the most."""

ENDS = ("http.disconnect", "websocket.disconnect")
"""The types of an application's last message."""


class Transport(NamedTuple):
    """How many bytes have been sent on a connection, and how many of them its peer has acknowledged."""

    sent: int
    acknowledged: int


@dataclass(eq=False)
class SlowReaders:
    """How long readers of a server may read nothing, and how many of them have been disconnected.

    Args:
        seconds: the time limit.
        connections: those that the kernel ended.
        responses: those that ended because their HTTP/2 stream's reader permitted nothing more.
    """

    seconds: float = SLOW_SECONDS
    connections: int = 0
    responses: int = 0

    def limit(self, listening: socket.socket) -> None:
        """Make the kernel reset connections whose peer acknowledges nothing for so long.

        Hypercorn shields its sends from cancellation, so a reader that has stopped would keep its task, and the
        daemon, from ever ending. On macOS, which has no such option, it still does.
        """
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = max(int(self.seconds * 1000), 1)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the connection if the kernel ends it because of its reader, which only one call on it is told."""
        try:
            yield
        except trio.BrokenResourceError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, OSError):
                cause = cause.__cause__
            self.connections += cause is not None and cause.errno == errno.ETIMEDOUT
            raise


class ServerConfig(Config):
    """Hypercorn's settings for a server, and the limit on its readers."""

    slow_readers: SlowReaders


def slow_readers_of(config: Config) -> SlowReaders:
    """Return the limit on a server's readers, which is the default one for servers that aren't the daemon's."""
    return config.slow_readers if isinstance(config, ServerConfig) else SlowReaders()


def transport(connection: trio.socket.SocketType) -> Transport:
    """Return what has been sent on a TCP socket; zeros where the system doesn't say (tcp(7) has both calls)."""
    with suppress(OSError, AttributeError):
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
        queued = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
        acknowledged = int.from_bytes(info[_BYTES_ACKED:], sys.byteorder)
        return Transport(acknowledged + int.from_bytes(queued, sys.byteorder), acknowledged)
    return Transport(0, 0)


class TimedBuffer(StreamBuffer):
    """The bytes of a response that haven't been sent.

    `has_sent` says whether some have been since the last check, `stalled_checks` how many checks in a row have found
    no progress, and `mark` how many bytes had been sent on the connection before the first of these.
    """

    has_sent = False
    stalled_checks = mark = 0

    async def pop(self, max_length: int) -> bytes:
        """Remove and return the next bytes to send."""
        data = await super().pop(max_length)
        self.has_sent |= bool(data)
        return data


class EndingH2Protocol(H2Protocol):
    """Hypercorn's HTTP/2, but nothing waits for a connection that is closed, or for a reader who has stopped.

    In Hypercorn, a response that hasn't been sent completely waits until it has been, even if its connection has been
    closed. So its task never ended, and kept the connection and all other requests of it in memory. The same holds for
    a response whose reader never permits another byte.
    """

    async def initiate(
        self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        """Begin the connection."""
        self.streams = Streams()
        await super().initiate(headers, settings)
        self._end = trio.Event()
        self.task_group.spawn(self._end_stalled_responses)

    async def handle(self, event: ConnectionEvent) -> None:
        """Handle received data, or the end of the connection."""
        await super().handle(event)
        if self.closed:
            self._end.set()
            await super().handle(Closed())  # for requests that began while it was being closed
            for buffer in list(self.stream_buffers.values()):
                await buffer.close()

    async def stream_send(self, event: Event) -> None:
        """Send a part of a response. After the end of the connection, it is dropped."""
        if not self.closed:
            await super().stream_send(event)
            if isinstance(event, StreamClosed) and self._is_unfinished(event.stream_id):
                await self._reset(event.stream_id)
        elif isinstance(event, StreamClosed):
            # Not what Hypercorn does: the connection would be idle, and end some seconds later.
            await super().handle(Closed())
        else:
            await trio.lowlevel.checkpoint()

    def _is_unfinished(self, stream_id: int) -> bool:
        """Return whether a response has ended before all of it was sent, because its time was up."""
        buffer = self.stream_buffers.get(stream_id)
        return buffer is not None and not buffer.complete

    async def _end_stalled_responses(self) -> None:
        """End responses that make no progress, until the connection is closed."""
        slow = slow_readers_of(self.config)
        while not self._end.is_set():
            with trio.move_on_after(slow.seconds / CHECKS):
                await self._end.wait()
            for stream_id in self._find_stalled():
                slow.responses += 1
                await self._reset(stream_id)

    def _find_stalled(self) -> list[int]:
        """Check all responses, and return the streams of those that have made no progress for too long.

        The time begins once what had been sent before has arrived: on a slow line, the reader doesn't permit more
        until then.
        """
        stalled = []
        now = self.connection_state.get(TRANSPORT, lambda: Transport(0, 0))()
        is_sending = any(buffer.has_sent for buffer in self._buffers().values())
        for stream_id, buffer in self._buffers().items():
            if buffer.has_sent or not buffer.buffer or self._is_permitted(stream_id, is_sending):
                buffer.stalled_checks, buffer.mark = 0, now.sent
            elif buffer.mark <= now.acknowledged:
                buffer.stalled_checks += 1
            if buffer.stalled_checks > CHECKS:
                stalled.append(stream_id)
            buffer.has_sent = False
        return stalled

    def _buffers(self) -> dict[int, TimedBuffer]:
        return self.stream_buffers  # type: ignore[return-value]

    def _is_permitted(self, stream_id: int, is_sending: bool) -> bool:
        """Return whether a response waits for others, not for its reader.

        If its own window is open, and the connection's isn't, others that are being sent are using the latter.
        """
        if (stream := self.connection.streams.get(stream_id)) is None:  # the client has reset it
            return False
        is_open = self.connection.outbound_flow_control_window > 0
        return stream.outbound_flow_control_window > 0 and (is_open or is_sending)

    async def _reset(self, stream_id: int) -> None:
        """Reset a stream, and end its request as if its client had left."""
        await self.stream_buffers[stream_id].close()
        with suppress(ProtocolError):  # the client was faster
            self.connection.reset_stream(stream_id, ErrorCodes.CANCEL)
        # The task that sends wakes up, and forgets the stream.
        await super().stream_send(EndBody(stream_id=stream_id))
        await super().stream_send(StreamClosed(stream_id=stream_id))
        await self.send(RawData(data=self.connection.data_to_send()))


class DroppedBodies:
    """In place of the streams that an HTTP/2 connection has forgotten: drops what arrives for them."""

    def __init__(self) -> None:
        self._left = DROPPED_BYTES

    async def handle(self, event: Event) -> None:
        """Drop a part of a body. Raises BrokenResourceError if there have been too many."""
        await trio.lowlevel.checkpoint()
        if isinstance(event, Body):
            self._left -= max(LEAST_BYTES, len(event.data))
            if self._left < 0:
                raise trio.BrokenResourceError("it goes on sending what has been answered")


class Streams(dict[int, Any]):
    """The streams of an HTTP/2 connection by their numbers, with `DroppedBodies` for those that have ended."""

    def __init__(self) -> None:
        super().__init__()
        self._dropped = DroppedBodies()

    def __missing__(self, stream_id: int) -> DroppedBodies:
        return self._dropped


class EndingTaskGroup(TaskGroup):
    """Hypercorn's tasks of a connection, but an application's queue ends when its request does.

    Putting a message in it waits while it's full, but not any longer than the request takes. After what is in it,
    the application receives that its client has left.
    """

    async def spawn_app(
        self, app: Any, config: Config, scope: Any, send: Any
    ) -> Callable[[Any], Awaitable[None]]:
        """Start the application of one request, and return the function that puts messages in its queue."""
        to_app, messages = trio.open_memory_channel[Any](config.max_app_queue_size)
        last: dict[str, Any] = {}

        async def put(message: Any) -> None:
            if message["type"] in ENDS:
                last.update(message)
                to_app.close()
            with suppress(trio.ClosedResourceError):
                await to_app.send(message)

        async def next_message() -> Any:
            try:
                return await messages.receive()
            except trio.EndOfChannel:
                return dict(last)

        async def run(scope: Any, receive: Any, send: Any, sync_spawn: Any, call_soon: Any) -> None:
            await app(scope, next_message, send, sync_spawn, call_soon)

        await super().spawn_app(run, config, scope, send)
        return put


def end_stalled_requests() -> None:
    """Make Hypercorn use `EndingH2Protocol` and `EndingTaskGroup`. It has no settings for that."""
    h2.StreamBuffer = TimedBuffer  # type: ignore[misc]
    hypercorn.protocol.H2Protocol = EndingH2Protocol  # type: ignore[attr-defined]
    tcp_server.TaskGroup = EndingTaskGroup  # type: ignore[attr-defined]
