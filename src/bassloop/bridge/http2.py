"""One HTTP/2 connection on one SSH channel: what both ends of `bassloop.bridge.grpc` share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncssh
from grpclib.config import Configuration
from grpclib.protocol import EventsProcessor, H2Protocol
from h2.events import AlternativeServiceAvailable, DataReceived, StreamEnded, UnknownFrameReceived

SessionFactory = Callable[[], asyncssh.SSHUNIXSession[bytes]]
Opener = Callable[[SessionFactory], Awaitable[object]]
"""Opens one channel to the other end and lets the session that it is given handle it; an asyncio
coroutine function that raises `asyncssh.Error` or `OSError` when the channel is refused."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST_FRAME = 1 << 14
"""What HTTP/2 allows unless more is agreed on, which isn't."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one channel may make this end hold. All in bytes, but `pieces` and `answers`."""

    message: int = 4 << 20
    """One gRPC message; the default of other implementations."""
    window: int = 1 << 20
    """Sent by the peer and not yet read here."""
    pieces: int = 1 << 15
    """Frames of data that wait to be read; a frame of one byte costs a hundred."""
    unsent: int = 1 << 20
    """Written here and not yet read by the peer; more than a peer that reads ever makes it."""

    answers: int = 16
    """Messages that were read and wait for who asked for them."""

    def configuration(self) -> Configuration:
        return Configuration(
            http2_connection_window_size=self.window, http2_stream_window_size=self.window
        )


DEFAULTS = Limits()


class ChannelTransport(asyncio.Transport):
    """What an HTTP/2 protocol needs of a transport, on an SSH channel."""

    def __init__(self, channel: asyncssh.SSHUNIXChannel[bytes], protocol: BoundedProtocol) -> None:
        super().__init__()
        self._channel = channel
        self._protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._channel.is_closing():
            return
        self._channel.write(bytes(data))
        if self._channel.get_write_buffer_size() > self._protocol.limits.unsent:
            self._protocol.fail("it asks without reading the answers")

    def close(self) -> None:
        """Close at once: what the peer has room for is on its way, the rest is dropped."""
        self._channel.abort()

    abort = close

    def is_closing(self) -> bool:
        return self._channel.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class BoundedProcessor(EventsProcessor):
    """grpclib's handling of HTTP/2 events, for peers that may send anything."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        super().__init__(protocol.handler, protocol.connection)
        self._protocol = protocol
        self._closed = False

    def process(self, event: Any) -> None:
        if isinstance(event, (UnknownFrameReceived, AlternativeServiceAvailable)):
            return  # of no meaning here, and the standard says to pass over them
        if isinstance(event, DataReceived) and not event.flow_controlled_length:
            return  # grpclib would take it for the end
        if isinstance(event, StreamEnded):
            self._complete(event.stream_id)
        super().process(event)
        if isinstance(event, DataReceived):
            stream = self.streams.get(event.stream_id)
            if stream is not None and stream.buffer._unacked.qsize() > self._protocol.limits.pieces:
                self._protocol.fail("it sends its data in too many pieces")

    def _complete(self, stream_id: int) -> None:
        """Let nobody wait for headers and trailers that can't come any more."""
        stream = self.streams.get(stream_id)
        if stream is None or not self._protocol.h2_config.client_side:
            return
        if stream.headers is None:
            stream.__terminated__("the answer ended before it began")
        elif stream.trailers is None:
            stream.trailers = []
            stream.trailers_received.set()

    def close(self, reason: str = "Connection closed") -> None:
        """End what is under way, once; an answer that has arrived whole stays readable."""
        if self._closed:
            return
        self._closed = True
        whole = {number: each for number, each in self.streams.items() if each.trailers is not None}
        for number in whole:
            del self.streams[number]
        try:
            super().close(reason)
        finally:
            self.streams.update(whole)


class FrameSizes:
    """Looks at the frames' headers as they pass: h2 would gather 16 MiB before it refuses one."""

    def __init__(self, preface: int) -> None:
        self._skip = preface
        self._head = b""

    def check(self, data: bytes) -> None:
        """Raises ValueError when a frame begins that is larger than was agreed on."""
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            step = 9 - len(self._head)
            self._head += data[at : at + step]
            at += step
            if len(self._head) == 9:
                self._skip = int.from_bytes(self._head[:3], "big")
                self._head = b""
                if self._skip > LARGEST_FRAME:
                    raise ValueError(f"a frame of {self._skip:,} bytes")


class BoundedProtocol(H2Protocol):
    """One HTTP/2 connection. `fault` says what was wrong with what the peer sent, if it was."""

    def __init__(self, like: H2Protocol, limits: Limits) -> None:
        super().__init__(like.handler, like.config, like.h2_config)
        self.limits = limits
        self.fault: str | None = None
        self._sizes = FrameSizes(0 if self.h2_config.client_side else len(PREFACE))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.processor = BoundedProcessor(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._sizes.check(data)
            events = self.connection.feed(data)
            self.connection.flush()
            for event in events:
                self.processor.process(event)
            self.connection.flush()
        except Exception as error:  # noqa: BLE001  (whatever these bytes provoke is this peer's fault)
            self.fail(f"its bytes are not HTTP/2 ({said(error)})")

    def fail(self, fault: str) -> None:
        """End the connection because of what the peer did."""
        self.fault = self.fault or fault
        self.lost(self.fault)

    def lost(self, reason: str) -> None:
        """Wake everybody who waits for this connection, then end what is under way on it."""
        self.resume_writing()
        self.processor.close(reason)


def said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class H2Session(asyncssh.SSHUNIXSession[bytes]):
    """Feeds the events of one SSH channel to an HTTP/2 connection."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        self.protocol = protocol
        self.greeted = asyncio.Event()
        """The peer has sent something, or is gone."""
        self.gone = False
        """It is closed, or will be as soon as it is open."""
        self._channel: asyncssh.SSHUNIXChannel[bytes] | None = None

    def connection_made(self, chan: asyncssh.SSHUNIXChannel[bytes]) -> None:
        if self.gone:
            chan.abort()
            return
        self._channel = chan
        self.protocol.connection_made(ChannelTransport(chan, self.protocol))

    def data_received(self, data: bytes, datatype: object) -> None:
        if self._channel is not None:
            self.greeted.set()
            self.protocol.data_received(data)

    def eof_received(self) -> bool:
        self.close("the other end hung up")
        return True

    def pause_writing(self) -> None:
        if self._channel is not None:
            self.protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._channel is not None:
            self.protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.close("the connection was lost" if exc is None else f"the connection was lost: {exc}")

    def close(self, reason: str) -> None:
        """Close the channel, whether or not it is open yet. May be called again."""
        self.greeted.set()
        self.gone = True
        if self._channel is not None:
            self.protocol.lost(reason)
