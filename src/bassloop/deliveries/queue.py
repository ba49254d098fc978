"""Which delivery is next: first come, first served, but in order for a head. No I/O, no clock.

Of the deliveries about one head (their `key`) one is ahead, from when it is put in the line until it
is released; the others wait behind it. One that is to be tried later keeps its place: nobody of its
key overtakes it.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery that waits: its body stays on disk until it is handled. Without a `key` it waits
    for nobody."""

    guid: str
    key: str | None = None


@dataclass(eq=False)
class Line:
    """The line. Everything takes the same time however long it is."""

    _ready: deque[Waiting] = field(default_factory=deque)
    _behind: dict[str, deque[Waiting]] = field(default_factory=dict)
    _later: list[tuple[float, int, Waiting]] = field(default_factory=list)
    _ahead: dict[str, str] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __len__(self) -> int:
        return len(self._ready) + len(self._later) + sum(map(len, self._behind.values()))

    def add(self, waiting: Waiting, not_before: float = -math.inf) -> None:
        """Put a delivery at the end, to be taken at a time at the earliest.

        One that is ahead of its key already keeps its place.
        """
        key = waiting.key
        if key is not None and self._ahead.setdefault(key, waiting.guid) != waiting.guid:
            self._behind.setdefault(key, deque()).append(waiting)
        elif not_before > -math.inf:
            heapq.heappush(self._later, (not_before, next(self._numbers), waiting))
        else:
            self._ready.append(waiting)

    def take(self, now: float) -> Waiting | None:
        """The next delivery that may be handled now; None when there is none."""
        while self._later and self._later[0][0] <= now:
            self._ready.append(heapq.heappop(self._later)[2])
        return self._ready.popleft() if self._ready else None

    def next_time(self) -> float:
        """When the first of those that wait for a time may be taken; infinity when none does."""
        return self._later[0][0] if self._later else math.inf

    def release(self, waiting: Waiting) -> None:
        """A delivery that was taken is in nobody's way any more. May be repeated."""
        key = waiting.key
        if key is None or self._ahead.get(key) != waiting.guid:
            return
        behind = self._behind.get(key)
        if behind:
            following = behind.popleft()
            self._ahead[key] = following.guid
            self._ready.append(following)
        else:
            self._behind.pop(key, None)
            del self._ahead[key]

    def clear(self) -> None:
        """Forget all that wait."""
        self._ready.clear()
        self._later.clear()
        self._behind.clear()
