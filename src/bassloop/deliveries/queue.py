"""The delivery queue: fair between repositories, first in, first out within each, in order for each head.

No I/O, no clock. At most one delivery of an order key (a head) is *active*, from when it is queued until it
unblocks the next one. Others with that key wait behind it. A postponed delivery stays active, so that no later one
with its key overtakes it.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.store import Delivery


@dataclass(frozen=True, slots=True)
class QueuedDelivery:
    """A delivery in the queue. Its body stays on disk. Without an `order_key`, it waits for no other.

    Args:
        repository: the repository's name; deliveries without one count as one repository.
        installation_id: the installation through which it will be handled.
        received_at: when it arrived, in seconds since the epoch.
    """

    guid: str
    order_key: str | None = None
    repository: str | None = None
    installation_id: int | None = None
    received_at: float = 0.0

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Return a stored delivery, to be queued."""
        return cls(
            delivery.guid,
            delivery.order_key,
            delivery.repository,
            delivery.installation_id,
            delivery.received_at,
        )


@dataclass(eq=False)
class DeliveryQueue:
    """The queue. Operations take time proportional to the number of repositories, but not of deliveries."""

    _ready: OrderedDict[str | None, deque[QueuedDelivery]] = field(default_factory=OrderedDict)
    _blocked: dict[str, deque[QueuedDelivery]] = field(default_factory=dict)
    _delayed: list[tuple[float, int, QueuedDelivery]] = field(default_factory=list)
    _active: dict[str, str] = field(default_factory=dict)
    _waiting: Counter[str | None] = field(default_factory=Counter)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __len__(self) -> int:
        return self._waiting.total()

    def waiting(self) -> dict[str | None, int]:
        """Return the number of waiting deliveries by repository."""
        return {repository: count for repository, count in self._waiting.items() if count}

    def add(self, delivery: QueuedDelivery, not_before: float = -math.inf) -> None:
        """Add a delivery at the end, to be taken at `not_before` at the earliest.

        The active delivery of a key stays ahead of the others with that key.
        """
        self._waiting[delivery.repository] += 1
        key = delivery.order_key
        if key is not None and self._active.setdefault(key, delivery.guid) != delivery.guid:
            self._blocked.setdefault(key, deque()).append(delivery)
        elif not_before > -math.inf:
            heapq.heappush(self._delayed, (not_before, next(self._numbers), delivery))
        else:
            self._make_ready(delivery)

    def take(
        self,
        now: float,
        may_begin: Callable[[int | None, str | None], bool] = lambda _, __: True,
    ) -> QueuedDelivery | None:
        """Remove and return the next delivery that may be handled now, or None.

        Repositories take turns.

        Args:
            may_begin: returns, for an installation's id and a repository's name, whether anything can be handled
            there now.
        """
        while self._delayed and self._delayed[0][0] <= now:
            self._make_ready(heapq.heappop(self._delayed)[2])
        found = (
            each
            for repository, each in self._ready.items()
            if may_begin(each[0].installation_id, repository)
        )
        if (ready := next(found, None)) is None:
            return None
        delivery = ready.popleft()
        if ready:
            self._ready.move_to_end(delivery.repository)
        else:
            del self._ready[delivery.repository]
        self._waiting[delivery.repository] -= 1
        return delivery

    def end_delays(self) -> None:
        """Let postponed deliveries be taken now, before later ones of the same repository."""
        delayed, self._delayed = self._delayed, []
        for _, _, delivery in delayed:
            self._make_ready(delivery)
        for repository, ready in self._ready.items():
            self._ready[repository] = deque(sorted(ready, key=lambda each: each.received_at))

    def next_time(self) -> float:
        """Return the time at which the next delayed delivery is due; infinity if none is delayed."""
        return self._delayed[0][0] if self._delayed else math.inf

    def unblock_next(self, delivery: QueuedDelivery) -> None:
        """Let the next delivery with the same key become active. Idempotent."""
        key = delivery.order_key
        if key is None or self._active.get(key) != delivery.guid:
            return
        blocked = self._blocked.get(key)
        if blocked:
            following = blocked.popleft()
            self._active[key] = following.guid
            self._make_ready(following)
        else:
            self._blocked.pop(key, None)
            del self._active[key]

    def clear(self) -> None:
        """Remove all deliveries that have not been taken."""
        self._ready.clear()
        self._delayed.clear()
        self._blocked.clear()
        self._waiting.clear()

    def _make_ready(self, delivery: QueuedDelivery) -> None:
        self._ready.setdefault(delivery.repository, deque()).append(delivery)
