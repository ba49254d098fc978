"""Forgets cancelled timers.

trio-asyncio keeps a cancelled timer until its time comes, and asyncssh sets its keepalive timer
anew with each packet: a busy run would leave a thousand of them a second, each for half a minute.
"""

from __future__ import annotations

import heapq
from typing import Any

FEW = 500


def forget_cancelled_timers(loop: Any) -> None:
    """Make a trio-asyncio loop drop cancelled timers once they outnumber the others."""
    cancelled = 0

    def note(handle: object) -> None:
        nonlocal cancelled
        cancelled += 1
        timers = loop._timers
        if cancelled < FEW or 2 * cancelled < len(timers) or loop._stopped.is_set():
            return
        timers[:] = [timer for timer in timers if not timer.cancelled()]
        heapq.heapify(timers)
        cancelled = 0

    loop._timer_handle_cancelled = note
