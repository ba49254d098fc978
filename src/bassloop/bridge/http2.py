"""One HTTP/2 connection on one SSH channel: what both ends of `bassloop.bridge.grpc` share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import asyncssh
from grpclib.config import Configuration
from grpclib.protocol import EventsProcessor, H2Protocol
from h2.events import AlternativeServiceAvailable, DataReceived, StreamEnded, UnknownFrameReceived

from bassloop.bridge.library_internals import unread_frames
from bassloop.bridge.metering import SLICE_SECONDS, TimeBudget
from bassloop.concurrency import TokenBucket

if TYPE_CHECKING:
    from grpclib.protocol import Stream

SessionFactory = Callable[[], asyncssh.SSHUNIXSession[bytes]]
Opener = Callable[[SessionFactory], Awaitable[object]]
"""Opens one channel to the other end, and connects it to a session of the factory.

It's an asyncio coroutine function, which raises `asyncssh.Error` or `OSError` if the channel is refused. If it's
cancelled, an opening that has begun has an owner that waits for its end.
"""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
DATA = 0
LARGEST_FRAME = 1 << 14
"""HTTP/2's default, which this connection doesn't raise."""
FRAMES_AT_ONCE = 32
"""How many frames are processed before the time is checked again."""


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """Limits on the memory and work that one channel can cause at this end. Sizes are in bytes."""

    message: int = 4 << 20
    """The size of a gRPC message; this is the default of other implementations."""
    window: int = 1 << 20
    """Data that the peer has sent, but that hasn't been read here."""
    pieces: int = 1 << 15
    """Data frames that haven't been read. (A frame of one byte takes a hundred bytes of memory.)"""
    unsent: int = 1 << 20
    """Data that was written here, but that the peer hasn't read. A peer that reads never reaches this."""
    answers: int = 16
    """Messages that were read, but not received by the caller."""
    control_frames: int = 1_000
    """Frames other than data that a server may send at once; a fifth of that is added per second."""

    def configuration(self) -> Configuration:
        """Return grpclib's own configuration."""
        return Configuration(
            http2_connection_window_size=self.window, http2_stream_window_size=self.window
        )


DEFAULTS = ChannelLimits()


class ChannelTransport(asyncio.Transport):
    """An SSH channel as the transport of an HTTP/2 protocol."""

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
        """Close at once. Data that doesn't fit in the peer's window is dropped."""
        self._channel.abort()

    abort = close

    def is_closing(self) -> bool:
        return self._channel.is_closing()

    def pause_reading(self) -> None:
        self._channel.pause_reading()

    def resume_reading(self) -> None:
        if not self._channel.is_closing():
            self._channel.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._channel.get_extra_info(name, default) if name == "meter" else default


class BoundedProcessor(EventsProcessor):
    """grpclib's handling of HTTP/2 events, for peers that may send anything."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        super().__init__(protocol.handler, protocol.connection)
        self._protocol = protocol
        self.is_closed = False

    def process(self, event: Any) -> None:
        if isinstance(event, (UnknownFrameReceived, AlternativeServiceAvailable)):
            return  # meaningless here, and to be ignored according to the standard
        if isinstance(event, DataReceived) and not event.flow_controlled_length:
            return  # grpclib would mistake it for the end
        if isinstance(event, StreamEnded):
            self._complete(event.stream_id)
        super().process(event)
        if isinstance(event, DataReceived):
            stream: Stream | None = self.streams.get(event.stream_id)
            if stream is not None and unread_frames(stream) > self._protocol.limits.pieces:
                self._protocol.fail("it sends its data in too many pieces")

    def _complete(self, stream_id: int) -> None:
        """Wake tasks that wait for headers and trailers that can't arrive any more, with empty ones."""
        stream: Stream | None = self.streams.get(stream_id)
        if stream is None or not self._protocol.h2_config.client_side:
            return
        if stream.headers is None:
            stream.headers = []
            stream.headers_received.set()
        if stream.trailers is None:
            stream.trailers = []
            stream.trailers_received.set()

    def close(self, reason: str = "Connection closed") -> None:
        """End all calls, once. Complete responses stay readable."""
        if self.is_closed:
            return
        self.is_closed = True
        whole = {number: each for number, each in self.streams.items() if each.trailers is not None}
        for number in whole:
            del self.streams[number]
        try:
            super().close(reason)
        finally:
            self.streams.update(whole)


class TooManyFrames(Exception):
    """A peer sends more control frames than allowed."""


class FrameScanner:
    """Reads the headers of received frames before the frames are processed.

    It rejects frames that are too large (h2 would buffer 16 MiB of one first) and too many control frames, and finds
    where to cut the received bytes, so that only a few frames are processed at once.

    Args:
        preface: the number of bytes before the first frame.
        take: called for each control frame, returns whether it's allowed. None allows all.
    """

    def __init__(self, preface: int, take: Callable[[], bool] | None) -> None:
        self._rest = preface
        self._header = bytearray()
        self._take = take

    def scan(self, data: bytearray, frames: int) -> int:
        """Return how many of these bytes to process now, for at most so many frames.

        Raises ValueError at the beginning of a frame that is too large, and TooManyFrames.
        """
        at = 0
        while at < len(data) and frames:
            if self._rest:
                step = min(self._rest, len(data) - at)
                self._rest -= step
                at += step
            else:
                step = min(HEADER_BYTES - len(self._header), len(data) - at)
                self._header += data[at : at + step]
                at += step
                if len(self._header) < HEADER_BYTES:
                    break
                self._rest = self._begin(self._header)
                self._header.clear()
            if not self._rest:
                frames -= 1
        return at

    def _begin(self, header: bytearray) -> int:
        size, kind = int.from_bytes(header[:3], "big"), header[3]
        if size > LARGEST_FRAME:
            raise ValueError(f"a frame of {size:,} bytes")
        is_control = kind != DATA or not size
        if is_control and self._take is not None and not self._take():
            raise TooManyFrames
        return size


class BoundedProtocol(H2Protocol):
    """One HTTP/2 connection. `fault` describes the peer's mistake, if it made one.

    Received frames are processed for `SLICE_SECONDS` at a time, and nothing more is read from the channel until they
    have been processed. Their cost is charged to the SSH connection's meter, if it has one.
    """

    processor: BoundedProcessor

    def __init__(self, like: H2Protocol, limits: ChannelLimits) -> None:
        super().__init__(like.handler, like.config, like.h2_config)
        self.limits = limits
        self.fault: str | None = None
        self._received = bytearray()
        self._processing = False
        self._ended: str | None = None
        most, is_client = limits.control_frames, self.h2_config.client_side
        self._scanner = FrameScanner(
            0 if is_client else len(PREFACE),
            TokenBucket(most, most / 5).take if is_client else None,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.processor = BoundedProcessor(self)
        self._transport = cast(ChannelTransport, transport)
        self._meter: TimeBudget = transport.get_extra_info("meter") or TimeBudget()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._processing:
            self._process()

    def _process(self) -> None:
        """Process received frames for a while, and the rest in a later iteration of the loop."""
        self._processing = True
        timer = self._meter.timer
        began, spent, taken = timer(), 0.0, 0
        try:
            while self._received and spent < SLICE_SECONDS:
                size = self._scanner.scan(self._received, FRAMES_AT_ONCE)
                data = bytes(self._received[:size])
                del self._received[:size]
                taken += size
                events = self.connection.feed(data)
                self.connection.flush()
                for event in events:
                    self.processor.process(event)
                self.connection.flush()
                spent = timer() - began
        except TooManyFrames:
            self.fail(f"it sends more than {self.limits.control_frames:,} control frames")
        except Exception as error:  # noqa: BLE001  (any error is caused by the peer's bytes)
            self.fail(f"its bytes are not HTTP/2 ({describe(error)})")
        self._meter.charge(timer() - began, taken)
        self._go_on()

    def _go_on(self) -> None:
        """Schedule the processing of the remaining bytes, or resume reading."""
        delay = self._meter.delay()
        if self._received or delay:
            self._processing = True
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(delay, self._process)
            return
        if self._ended is not None:
            self.processor.close(self._ended)
            return
        self._transport.resume_reading()  # may call data_received, which doesn't process while we are
        self._processing = False
        if self._received:
            self._go_on()

    def fail(self, fault: str) -> None:
        """End the connection because of the peer's mistake."""
        self.fault = self.fault or fault
        self.close(self.fault)

    def close(self, reason: str) -> None:
        """End the connection at once: wake tasks that wait to write, then end all calls."""
        self._received.clear()
        self.resume_writing()
        self.processor.close(reason)

    def lost(self, reason: str) -> None:
        """End the connection because the peer did, after processing everything that it sent before."""
        self.resume_writing()
        self._ended = self._ended or reason
        if not self._processing:
            self.processor.close(self._ended)


def describe(error: BaseException) -> str:
    """Return an error's class and message."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class H2Session(asyncssh.SSHUNIXSession[bytes]):
    """The session of an SSH channel that carries an HTTP/2 connection."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        self.protocol = protocol
        self.greeted = asyncio.Event()
        """Set once the peer has sent something, or is gone."""
        self.gone = False
        """True if the channel is closed, or will be as soon as it's open."""
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
        self._lost("the other end hung up")
        return True

    def pause_writing(self) -> None:
        if self._channel is not None:
            self.protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._channel is not None:
            self.protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost("the connection was lost" if exc is None else f"the connection was lost: {exc}")

    def _lost(self, reason: str) -> None:
        self.greeted.set()
        self.gone = True
        if self._channel is not None:
            self.protocol.lost(reason)

    def close(self, reason: str) -> None:
        """Close the channel, whether or not it is open yet. May be called again."""
        self.greeted.set()
        self.gone = True
        if self._channel is not None:
            self.protocol.close(reason)
