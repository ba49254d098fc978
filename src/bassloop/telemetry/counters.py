"""Counters and histograms of outcomes and durations.

These are plain numbers, to be used from one thread. Objects expose them in their `statistics`, and
`daemon/metrics.py` turns them into metrics when they are scraped. prometheus_client's own classes aren't used outside
that module: they need a name and a registry where something is counted, and don't expose their values.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Bounds for operations that should take milliseconds."""

SLOW = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Bounds for operations that take as long as people's commands."""


@dataclass(slots=True)
class Histogram:
    """A histogram of durations. Each is counted at the first bound that it doesn't exceed.

    Args:
        bounds: in seconds, ascending. There is one more bucket for what exceeds the last one.
    """

    bounds: tuple[float, ...] = FAST
    buckets: list[int] = field(init=False)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.buckets = [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        """Count one."""
        self.buckets[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    @property
    def count(self) -> int:
        """The number of durations."""
        return sum(self.buckets)


@dataclass(slots=True)
class Tally:
    """Counts of outcomes, and a histogram of durations."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: Histogram = field(default_factory=lambda: Histogram(SLOW))

    def add(self, outcome: str, seconds: float | None) -> None:
        """Count an outcome. The seconds are None for something that never began."""
        self.outcomes[outcome] += 1
        if seconds is not None:
            self.seconds.add(max(seconds, 0.0))
