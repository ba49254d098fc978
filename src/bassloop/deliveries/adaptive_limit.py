"""How many deliveries are handled at the same time, given how busy the event loop is.

A delivery mostly waits, for GitHub or for its hook, so that many can be handled at once. But when the processor is
the bottleneck, handling more of them ends none sooner, and each webhook that arrives has to wait for a turn among all
their tasks. So the limit follows the event loop's delay as TCP's congestion window follows lost packets (RFC 5681): a
long delay halves it, and without one it grows steadily.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST = 4
"""Deliveries. With fewer, the evaluators of a small machine would sometimes have nothing to do."""

LONG_DELAY = 0.01
"""Seconds. A task that is ready waits so long for its turn if many others are ready, too."""

GROWTH_SECONDS = 0.05
"""Seconds after which the limit grows by one. Long delays within this time after another are the same congestion."""


@dataclass(eq=False)
class AdaptiveLimit:
    """The limit, between `LEAST` and `most`. It begins at `most`. Times are in seconds by any monotonic clock."""

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
            self._reduced_to = max(self.at(now) // 2, min(LEAST, self.most))
            self._reduced_at = now
