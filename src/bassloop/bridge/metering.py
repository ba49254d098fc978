"""The price of a peer's bytes: how much of the loop's time they may take.

Most bytes are cheap; a peer that wants to do harm sends those that aren't: thousands of tiny packets, key
exchanges, pings. What they cost is measured in processor time, so that it doesn't matter which of them it
is, and a peer pays for it: bytes in bulk pay for themselves, everything else is paid from a budget that
fills up slowly. Whoever has spent it is read from again when it has recovered.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

SLICE_SECONDS = 0.002
"""How long the bytes of one peer may keep the loop before others have their turn."""

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

    def __repr__(self) -> str:
        return f"<TimeBudget: {self._budget.tokens:.3f} s left>"

    def charge(self, seconds: float, received: int = 0) -> None:
        """Take what some bytes have cost, apart from what their number pays for."""
        if (cost := seconds - received * BYTE_SECONDS) > 0:
            self._budget.charge(cost)

    def delay(self) -> float:
        """Return the seconds until the budget is no longer overdrawn."""
        return self._budget.seconds_until(0)
