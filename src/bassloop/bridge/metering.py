"""The price of a peer's bytes: how much of the loop's time they may take.

Most bytes are cheap; a peer that wants to do harm sends those that aren't: thousands of tiny packets, key
exchanges, pings, questions whose answers it doesn't read. What they cost is measured in processor time, so that
it doesn't matter which of them it is, and a peer pays for it: bytes in bulk pay for themselves, everything else
is paid from a budget that fills up slowly. Whoever has spent it is read from again when it has recovered.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import trio

from bassloop.bridge.private import packets_received, transport_of
from bassloop.concurrency import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncssh

READ_BYTES = 64 << 10
SLICE_BYTES = 2 << 10
"""How many bytes are processed before it is looked at how long they took."""

UNAUTHENTICATED_BYTES = 64 << 10
UNAUTHENTICATED_PACKETS = 300
"""What a connection may send until it is authenticated: several times as much as trying 20 keys takes."""

UNREAD_BYTES = 64 << 20
"""What may wait for a peer to read it, of all channels and answers; each channel's share is bounded as well."""

SLICE_SECONDS = 0.002
"""How long the bytes of one peer may keep the loop before others have their turn."""

LEAST_DELAY = 0.001
"""Seconds between two looks at a budget that is overdrawn."""

BYTE_SECONDS = 200e-9
"""What a byte may cost without being charged: several times as much as it does in packets of 32 KiB."""


class TimeBudget:
    """A budget of processor time for the bytes of one peer.

    Args:
        seconds: how much may be spent at once.
        rate: how much of a second comes back each second.
        clock: seconds, monotonic, for what comes back.
        timer: the processor time of this thread.
    """

    def __init__(
        self,
        seconds: float = 1.0,
        rate: float = 0.2,
        *,
        clock: Callable[[], float] = trio.current_time,
        timer: Callable[[], float] = time.thread_time,
    ) -> None:
        self._budget = TokenBucket(seconds, rate, clock=clock)
        self.timer = timer
        self.shared: TimeBudget | None = None
        """A budget that this one is a part of, such as that of all connections of one login."""

    def __repr__(self) -> str:
        return f"<TimeBudget: {self._budget.tokens:.3f} s left>"

    def charge(self, seconds: float, received: int = 0) -> None:
        """Take what some bytes have cost, apart from what their number pays for."""
        if (cost := seconds - received * BYTE_SECONDS) > 0:
            self._budget.charge(cost)
            if self.shared is not None:
                self.shared.charge(cost)

    def delay(self) -> float:
        """Return the seconds until the budget, and the one that it is a part of, are no longer overdrawn."""
        own = self._budget.seconds_until(0)
        return own if self.shared is None else max(own, self.shared.delay())


class MeteredReader(asyncio.BufferedProtocol):
    """Reads an SSH connection for asyncssh, a little at a time and within a budget.

    asyncssh processes all that it is given at once, and copies the rest for each packet. Bytes are processed for
    `SLICE_SECONDS`, the rest in a later turn of the loop, and nothing more is read meanwhile. A connection
    that sends too much before it is authenticated is aborted, and so is one that asks without reading the answers.
    """

    def __init__(self, connection: asyncssh.SSHServerConnection) -> None:
        self.budget = TimeBudget()
        self.is_authenticated = False
        self.fault: str | None = None
        self._connection = connection
        self._transport = transport_of(connection)
        self._buffer = bytearray(READ_BYTES)
        self._received = bytearray()
        self._bytes = 0
        self._packets = 0
        self._last_packet = 0
        self._processing = False
        self._ending: Callable[[], object] | None = None
        connection.set_extra_info(meter=self.budget)
        self._transport.set_protocol(self)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._received += self._buffer[:nbytes]
        if not self._processing:
            self._process()

    def eof_received(self) -> None:
        self._end(self._connection.eof_received)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(lambda: self._connection.connection_lost(exc))

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def _end(self, ending: Callable[[], object]) -> None:
        """Tell asyncssh that nothing more comes, after what has."""
        self._ending = ending
        if not self._processing:
            ending()

    def _process(self) -> None:
        self._processing = True
        if self._received:
            self._process_slice()
        delay = self.budget.delay()
        if self._received or (self._ending is None and delay):
            self._transport.pause_reading()
            # Looking at the budget costs something, too: looked at too often, it would never recover.
            least = 0.0 if self._received else LEAST_DELAY
            asyncio.get_running_loop().call_later(max(delay, least), self._process)
            return
        self._processing = False
        if self._ending is not None:
            self._ending()
        else:
            self._transport.resume_reading()

    def _process_slice(self) -> None:
        """Process bytes for `SLICE_SECONDS`, and charge what they cost. After a fault nothing is left."""
        timer = self.budget.timer
        began, spent, taken = timer(), 0.0, 0
        while self._received and spent < SLICE_SECONDS and self.fault is None:
            data = bytes(self._received[:SLICE_BYTES])
            del self._received[:SLICE_BYTES]
            taken += len(data)
            self._connection.data_received(data)
            self._count(len(data))
            spent = timer() - began
        self.budget.charge(timer() - began, taken)
        if self._transport.get_write_buffer_size() > UNREAD_BYTES:
            self._abort("it asks without reading the answers")
        if self.fault is not None:
            self._received.clear()

    def _count(self, size: int) -> None:
        """Count bytes and packets until the connection is authenticated."""
        if self.is_authenticated:
            return
        last, self._last_packet = self._last_packet, packets_received(self._connection)
        # A key exchange begins to count anew.
        self._packets += self._last_packet - (last if self._last_packet >= last else 0)
        self._bytes += size
        if self._bytes > UNAUTHENTICATED_BYTES or self._packets > UNAUTHENTICATED_PACKETS:
            self._abort("it sent too much before it was authenticated")

    def _abort(self, fault: str) -> None:
        self.fault = fault
        self._received.clear()
        self._connection.abort()
