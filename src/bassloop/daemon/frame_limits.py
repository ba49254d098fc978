"""Limits on the frames of HTTP/2 and of websockets. Each costs the loop time, however few bytes it has."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.protocol import h2, h11
from hypercorn.protocol.events import Body, Data, Request
from hypercorn.protocol.ws_stream import WSStream

from bassloop.addresses import origins
from bassloop.bridge.http2 import PREFACE, FrameScanner, TooManyFrames
from bassloop.concurrency import TokenBucket, TTLCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypercorn.protocol.events import Event

    from bassloop.daemon.stalled_requests import SlowReaders

CONTROL_FRAMES = 400
"""The burst of HTTP/2 frames other than data per connection; a quarter of it is the rate per second. A page with all
of its parts needs about 150."""

ADDRESS_FRAMES = 800
"""The burst of such frames for all connections of an address; a sixteenth of it is the rate per second. Beyond that,
connections are read more slowly."""

LONGEST_DELAY = 10.0
"""How many seconds reading from a connection is delayed at most. One that would have to wait longer is closed."""

ADDRESSES, ADDRESS_SECONDS = 10_000, 60.0
"""How many addresses are remembered, and for how long."""

FRAMES_AT_ONCE = 2
"""How many frames are processed between checkpoints. Each may be a request."""

WEBSOCKET_FRAMES = 100
"""The burst of frames for a websocket; a tenth of it is the rate per second. A frame may have only six bytes, but costs
as much as a kilobyte of data. A page sends a message when it opens its websocket, and then a short one every few
seconds."""

_EXTENSIONS = b"sec-websocket-extensions"
_MASK_BYTES = 4
_LENGTH_BYTES = {126: 2, 127: 8}

BUDGETS = TTLCache[str, TokenBucket](ADDRESSES, ADDRESS_SECONDS, clock=time.monotonic)
"""The budgets of HTTP/2 frames, by address."""


def address_budget(connection: trio.socket.SocketType) -> TokenBucket:
    """Return the budget of frames for the visitor's address."""
    try:
        address = origins(connection.getpeername()[0])[0]
    except OSError:  # it has left already
        address = "unknown"
    if (frames := BUDGETS.get(address)) is None:
        frames = TokenBucket(ADDRESS_FRAMES, ADDRESS_FRAMES / 16, clock=time.monotonic)
        BUDGETS.store(address, frames)
    return frames


class MeteredStream:
    """A visitor's stream, which limits HTTP/2 frames other than data, and passes on a few at a time.

    Hypercorn itself answers any number of pings, and starts any number of requests. HTTP/2 by an upgrade of
    HTTP/1.1, which no browser uses, is refused.

    Args:
        address: the budget of frames for the visitor's address.
    """

    def __init__(
        self,
        stream: Any,
        has_upgraded: Callable[[], bool],
        address: TokenBucket,
        slow_readers: SlowReaders,
    ) -> None:
        self._stream = stream
        self._slow_readers = slow_readers
        self._has_upgraded = has_upgraded
        self._address = address
        self._has_begun = False
        self._control = TokenBucket(CONTROL_FRAMES, CONTROL_FRAMES / 4)
        self._frames: FrameScanner | None = None
        self._rest = bytearray()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def send_all(self, data: bytes) -> None:
        with self._slow_readers.counted():
            await self._stream.send_all(data)

    async def receive_some(self, max_bytes: int) -> bytes:
        if self._rest:
            await trio.lowlevel.checkpoint()
            return await self._few_frames()
        with self._slow_readers.counted():
            data = bytes(await self._stream.receive_some(max_bytes))
        if not self._has_begun:
            self._has_begun = True
            while len(data) < len(PREFACE) and data and PREFACE.startswith(data):
                if not (more := await self._stream.receive_some(max_bytes)):
                    break
                data += more
            if data.startswith(PREFACE):
                self._frames = FrameScanner(len(PREFACE), self._take_frame)
        if self._frames is None:
            if self._has_upgraded():
                raise trio.BrokenResourceError("HTTP/2 by an upgrade is refused")
            return data
        self._rest += data
        return await self._few_frames() if data else data

    def _take_frame(self) -> bool:
        """Count a control frame, for the address as well, and return whether the connection may send it."""
        self._address.charge(1)
        return self._control.take()

    async def _few_frames(self) -> bytes:
        """Return the next received bytes, a few frames at most, once the address may send them."""
        assert self._frames is not None
        if (delay := self._address.seconds_until(0)) > LONGEST_DELAY:
            raise trio.BrokenResourceError("its address sends too many frames")
        await trio.sleep(delay)
        try:
            size = self._frames.scan(self._rest, FRAMES_AT_ONCE)
        except (ValueError, TooManyFrames) as error:
            raise trio.BrokenResourceError("it sends frames that it may not") from error
        data = bytes(self._rest[:size])
        del self._rest[:size]
        return data


class FrameCounter:
    """Counts the frames in a websocket's bytes, however these are split."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._payload = 0

    def count(self, data: bytes) -> int:
        """Return how many frames begin in these bytes, which continue those of the last call."""
        at = begun = 0
        while at < len(data):
            if self._payload:
                step = min(self._payload, len(data) - at)
                self._payload -= step
            else:
                begun += not self._header
                step = min(self._header_size() - len(self._header), len(data) - at)
                self._header += data[at : at + step]
                if len(self._header) == self._header_size():
                    self._payload = self._payload_size()
                    self._header.clear()
            at += step
        return begun

    def _header_size(self) -> int:
        if len(self._header) < 2:
            return 2
        mask = _MASK_BYTES if self._header[1] & 0x80 else 0
        return 2 + _LENGTH_BYTES.get(self._header[1] & 0x7F, 0) + mask

    def _payload_size(self) -> int:
        short = self._header[1] & 0x7F
        return int.from_bytes(self._header[2 : 2 + _LENGTH_BYTES[short]]) if short > 125 else short


class MeteredWebSocket(WSStream):
    """Hypercorn's websocket, but it closes its connection if too many frames arrive, and never compresses.

    With `permessage-deflate` (RFC 7692), 16 KB from a visitor would inflate to 16 MB on the loop's thread, and each
    MiB for a page would take 60 ms to deflate.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._counter = FrameCounter()
        self._allowed = TokenBucket(WEBSOCKET_FRAMES, WEBSOCKET_FRAMES / 10, clock=time.monotonic)

    async def handle(self, event: Event) -> None:
        """Handle received data. Raises BrokenResourceError if it has too many frames."""
        if isinstance(event, (Body, Data)) and not self._allowed.take(
            self._counter.count(event.data)
        ):
            raise trio.BrokenResourceError("it sends too many frames on a websocket")
        if isinstance(event, Request):
            headers = [each for each in event.headers if each[0].lower() != _EXTENSIONS]
            event = replace(event, headers=headers)
        await super().handle(event)


def meter_websockets() -> None:
    """Make Hypercorn use `MeteredWebSocket`. It has no setting for that."""
    h11.WSStream = h2.WSStream = MeteredWebSocket  # type: ignore[attr-defined, assignment]
