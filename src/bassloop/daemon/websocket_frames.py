"""A limit on a websocket's frames: one may have only six bytes, but costs as much as a kilobyte of data.

A page sends one message when it opens its websocket, and a short one every few seconds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.protocol import h2, h11
from hypercorn.protocol.events import Body, Data
from hypercorn.protocol.ws_stream import WSStream

from bassloop.concurrency import TokenBucket

if TYPE_CHECKING:
    from hypercorn.protocol.events import Event

FRAMES = 100
"""The burst of frames for a websocket; a tenth of it is the rate per second."""

_MASK_BYTES = 4
_LENGTH_BYTES = {126: 2, 127: 8}


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
    """Hypercorn's websocket, but it closes its connection if too many frames arrive."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._counter = FrameCounter()
        self._allowed = TokenBucket(FRAMES, FRAMES / 10, clock=time.monotonic)

    async def handle(self, event: Event) -> None:
        """Handle received data. Raises BrokenResourceError if it has too many frames."""
        if isinstance(event, (Body, Data)) and not self._allowed.take(
            self._counter.count(event.data)
        ):
            raise trio.BrokenResourceError("it sends too many frames on a websocket")
        await super().handle(event)


def meter_websockets() -> None:
    """Make Hypercorn use `MeteredWebSocket`. It has no setting for that."""
    h11.WSStream = h2.WSStream = MeteredWebSocket  # type: ignore[attr-defined, assignment]
