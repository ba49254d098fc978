"""Scheduling of deliveries: when one is tried again, and how many are handled at the same time. No I/O.

A delivery that fails because GitHub is down or limits the rate is postponed, for days if necessary. One that fails
for a reason of its own is tried again a few times. Conclusions of checks are retried likewise.

A delivery mostly waits, for GitHub or for its hook, so that many can be handled at once. But when the processor is
the bottleneck, handling more of them ends none sooner, and each webhook that arrives has to wait for a turn among all
their tasks. So the limit follows the event loop's delay as TCP's congestion window follows lost packets (RFC 5681): a
long delay halves it, and without one it grows steadily.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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
    """Return when to try a delivery again because GitHub didn't let it be handled, or None for other errors.

    Times are in seconds since the epoch.
    """
    delay = retry_after(error)
    if delay is None or delivery.postponed >= MAX_POSTPONED:
        return None
    return now + max(delay, backoff.delay(delivery.postponed + 1))


def retried_at(delivery: Delivery, now: float) -> float:
    """Return when to try a delivery again that failed for a reason of its own."""
    return now + 2.0 ** (delivery.failures + 1)


MIN_LIMIT = 4
"""Deliveries. With fewer, the evaluators of a small machine would sometimes have nothing to do."""

LONG_DELAY = 0.01
"""Seconds. A task that is ready waits so long for its turn if many others are ready, too."""

GROWTH_SECONDS = 0.05
"""Seconds after which the limit grows by one. Long delays within this time after another are the same congestion."""


@dataclass(eq=False)
class AdaptiveLimit:
    """The limit, between `MIN_LIMIT` and `most`. It begins at `most`. Times are in seconds by any monotonic clock."""

    most: int
    _reduced_to: int = 0
    _reduced_at: float = -math.inf

    def at(self, now: float) -> int:
        """Return the limit."""
        steps = (now - self._reduced_at) / GROWTH_SECONDS
        return min(self.most, self._reduced_to + int(min(steps, self.most)))

    def next_time(self, now: float) -> float:
        """Return the time at which the limit will have grown; infinity if it's at its maximum."""
        limit = self.at(now)
        if limit >= self.most:
            return math.inf
        return self._reduced_at + GROWTH_SECONDS * (limit - self._reduced_to + 1)

    def note_delay(self, seconds: float, now: float) -> None:
        """Note how long a task that was ready has waited for its turn."""
        if seconds > LONG_DELAY and now - self._reduced_at > GROWTH_SECONDS:
            self._reduced_to = max(self.at(now) // 2, min(MIN_LIMIT, self.most))
            self._reduced_at = now
