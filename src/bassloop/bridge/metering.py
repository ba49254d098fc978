"""Limits on the processor time that a peer's bytes can take.

Most bytes are cheap to process, but a malicious peer can send expensive ones: thousands of tiny packets, key exchanges,
pings, requests whose responses it doesn't read. Their cost is measured in processor time, whatever they are. Bulk data
is free; everything else is charged to the peer's budget, which refills slowly. While it's overdrawn, nothing is read
from the peer.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from bassloop.bridge.library_internals import deferred_packets, packets_received, transport_of
from bassloop.concurrency import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import asyncssh

READ_BYTES = 64 << 10
SLICE_BYTES = 2 << 10
"""How many bytes are processed before the time is checked again."""

UNAUTHENTICATED_BYTES = 64 << 10
UNAUTHENTICATED_PACKETS = 300
"""The limits for a connection until it's authenticated: several times as much as trying 20 keys takes."""

UNREAD_BYTES = 64 << 20
"""The maximum amount of data that a peer hasn't read, in all channels together; each channel has a limit as well."""

DEFERRED_PACKETS = 1_000
"""The maximum number of packets that wait for the end of a key exchange. asyncssh has no limit for them, and then sends
them all without a break, which takes at least 50 µs for each."""

SLICE_SECONDS = 0.002
"""The time for which one peer's bytes are processed before it's the turn of others."""

LEAST_DELAY = 0.001
"""The minimum seconds between two checks of an overdrawn budget."""

BYTE_SECONDS = 200e-9
"""The cost of a byte that isn't charged: several times its cost in packets of 32 KiB."""


@dataclass(slots=True)
class Cost:
    """The processor time that something took, in seconds; 0 until it's over."""

    seconds: float = 0.0


class TimeBudget:
    """A budget of processor time for the bytes of one peer.

    Args:
        seconds: the processor time that can be spent at once.
        rate: the seconds of processor time that are refilled per second.
        clock: returns monotonic seconds, for the refill.
        timer: returns this thread's processor time.
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
        """A budget that is charged as well, such as one for all connections of a login."""

    def __repr__(self) -> str:
        return f"<TimeBudget: {self._budget.tokens:.3f} s left>"

    def charge(self, seconds: float, received: int = 0) -> None:
        """Charge the cost of some bytes, minus what is free for their number."""
        if (cost := seconds - received * BYTE_SECONDS) > 0:
            self._budget.charge(cost)
            if self.shared is not None:
                self.shared.charge(cost)

    @contextmanager
    def charged(self, received: int = 0) -> Generator[Cost]:
        """Charge the processor time of the body, which must have no checkpoint, minus what is free for some bytes."""
        began, cost = self.timer(), Cost()
        try:
            yield cost
        finally:
            cost.seconds = self.timer() - began
            self.charge(cost.seconds, received)

    def delay(self) -> float:
        """Return the seconds until neither the budget nor the shared one is overdrawn."""
        own = self._budget.seconds_until(0)
        return own if self.shared is None else max(own, self.shared.delay())


class MeteredReader(asyncio.BufferedProtocol):
    """Reads an SSH connection for asyncssh, a little at a time and within a budget.

    asyncssh processes all bytes that it gets at once, and copies the rest for each packet. So bytes are processed for
    `SLICE_SECONDS`, the rest in a later iteration of the loop, and nothing more is read meanwhile. A connection is
    aborted if it sends too much before it's authenticated, or doesn't read the responses to its requests.
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
        """Tell asyncssh about the end, after all bytes have been processed."""
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
            # Checking the budget has a cost as well: if it were checked too often, it would never recover.
            least = 0.0 if self._received else LEAST_DELAY
            asyncio.get_running_loop().call_later(max(delay, least), self._process)
            return
        self._processing = False
        if self._ending is not None:
            self._ending()
        else:
            self._transport.resume_reading()

    def _process_slice(self) -> None:
        """Process bytes for `SLICE_SECONDS`, and charge their cost. After a fault, drop the rest."""
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
        if deferred_packets(self._connection) > DEFERRED_PACKETS:
            self._abort("it asks too much during a key exchange")
        if self.fault is not None:
            self._received.clear()

    def _count(self, size: int) -> None:
        """Count bytes and packets until the connection is authenticated."""
        if self.is_authenticated:
            return
        last, self._last_packet = self._last_packet, packets_received(self._connection)
        # A key exchange resets the count of packets.
        self._packets += self._last_packet - (last if self._last_packet >= last else 0)
        self._bytes += size
        if self._bytes > UNAUTHENTICATED_BYTES or self._packets > UNAUTHENTICATED_PACKETS:
            self._abort("it sent too much before it was authenticated")

    def _abort(self, fault: str) -> None:
        self.fault = fault
        self._received.clear()
        self._connection.abort()
