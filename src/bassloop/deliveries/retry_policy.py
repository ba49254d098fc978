"""The retry policy of deliveries and of checks' conclusions: how long to wait, and when to give up. No I/O.

A delivery that fails because GitHub is down or limits the rate is postponed, for days if necessary. One that fails
for a reason of its own is tried again a few times. Times are in seconds since the epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.concurrency import Backoff
from bassloop.github import retry_after

if TYPE_CHECKING:
    from bassloop.store import Delivery

BACKOFF = Backoff(first=5.0, longest=600.0, jitter=0.2)
"""The delays between attempts at GitHub."""

MAX_POSTPONED = 500
"""The maximum number of postponements in a row: more than three days' worth."""

MAX_CRASHES = 10
"""The number of crashes of the loop while it evaluates a delivery's hook after which the delivery is set aside."""

LONGEST_DELAY = 2 * 3600.0
"""The longest wait, in seconds. What is due later than this has been stored before the clock was set back."""


def postponed_until(
    delivery: Delivery, error: Exception, backoff: Backoff, now: float
) -> float | None:
    """Return when to try a delivery again because GitHub didn't let it be handled, or None for other errors."""
    delay = retry_after(error)
    if delay is None or delivery.postponed >= MAX_POSTPONED:
        return None
    return now + max(delay, backoff.delay(delivery.postponed + 1))


def retried_at(delivery: Delivery, now: float) -> float:
    """Return when to try a delivery again that failed for a reason of its own."""
    return now + 2.0 ** (delivery.failures + 1)
