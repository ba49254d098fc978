"""The delivery queue: first in, first out, and in order for each head. No I/O, no clock.

At most one delivery of an order key (a head) is *active*: from the moment it is queued until it is
released. The others of that key wait behind it. A delivery that is put off until later stays active, so
that no later one of its key overtakes it.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class QueuedDelivery:
    """A delivery in the queue. Its body stays on disk; without an `order_key` it waits for no other."""

    guid: str
    order_key: str | None = None


@dataclass(eq=False)
class DeliveryQueue:
    """The queue. Every operation takes the same time however long the queue is."""

    _ready: deque[QueuedDelivery] = field(default_factory=deque)
    _blocked: dict[str, deque[QueuedDelivery]] = field(default_factory=dict)
    _delayed: list[tuple[float, int, QueuedDelivery]] = field(default_factory=list)
    _active: dict[str, str] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __len__(self) -> int:
        return len(self._ready) + len(self._delayed) + sum(map(len, self._blocked.values()))

    def add(self, delivery: QueuedDelivery, not_before: float = -math.inf) -> None:
        """Add a delivery at the end, to be taken at `not_before` at the earliest.

        The active delivery of a key keeps its place before the others of that key.
        """
        key = delivery.order_key
        if key is not None and self._active.setdefault(key, delivery.guid) != delivery.guid:
            self._blocked.setdefault(key, deque()).append(delivery)
        elif not_before > -math.inf:
            heapq.heappush(self._delayed, (not_before, next(self._numbers), delivery))
        else:
            self._ready.append(delivery)

    def take(self, now: float) -> QueuedDelivery | None:
        """Remove and return the next delivery that may be handled now, or None."""
        while self._delayed and self._delayed[0][0] <= now:
            self._ready.append(heapq.heappop(self._delayed)[2])
        return self._ready.popleft() if self._ready else None

    def next_time(self) -> float:
        """Return the time at which the next delayed delivery is due; infinity if none is delayed."""
        return self._delayed[0][0] if self._delayed else math.inf

    def release(self, delivery: QueuedDelivery) -> None:
        """Let the next delivery of the same key become active. Idempotent."""
        key = delivery.order_key
        if key is None or self._active.get(key) != delivery.guid:
            return
        blocked = self._blocked.get(key)
        if blocked:
            following = blocked.popleft()
            self._active[key] = following.guid
            self._ready.append(following)
        else:
            self._blocked.pop(key, None)
            del self._active[key]

    def clear(self) -> None:
        """Remove all deliveries that have not been taken."""
        self._ready.clear()
        self._delayed.clear()
        self._blocked.clear()
