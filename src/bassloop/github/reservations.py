"""Reservations: points of a rate limit are stored as spent before they are, a slice at a time.

GitHub still counts the calls of a process that was killed, so its successor has to count them as well. Storing each
call would be too expensive. Instead, a process stores what it has spent together with one slice that it may spend
next. A successor knows exactly what was spent except for that slice, and counts all of it.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

from bassloop.github.api_budget import purpose_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bassloop.github.api_budget import APIBudget

log = structlog.get_logger(__name__)

SLICES = 34
"""The number of slices in a budget; up to one is lost with each process that is killed."""

STORE_SECONDS = 1.0
"""How many seconds a call waits for the store."""

LONGEST_CLOSED = 3600.0
"""Seconds. If a credential seems closed for longer than this, the clock has been set back since."""


class StoredSpending(Protocol):
    """A credential's stored spending; see `SpendingStore.put` for the fields."""

    @property
    def spent(self) -> Sequence[tuple[int, int]]: ...
    @property
    def reserved(self) -> int: ...
    @property
    def closed_until(self) -> float: ...


class SpendingStore(Protocol):
    """A store for what credentials have spent. It may fail, for example when the disk is full."""

    async def all(self) -> Mapping[str, StoredSpending]:
        """Return the stored spending by credential."""

    async def put(
        self,
        credential: str,
        *,
        at: float,
        spent: Sequence[tuple[int, int]],
        purposes: Sequence[str],
        reserved: int,
        closed_until: float,
    ) -> None:
        """Store what a credential has spent.

        Args:
            at: seconds since the epoch.
            spent: pairs of a time, in seconds since the epoch, and points.
            purposes: the purpose of each pair.
            reserved: the points of requests in flight, and of the slice that may be spent next.
            closed_until: when GitHub accepts the credential's calls again, in seconds since the epoch.
        """


@dataclass(eq=False)
class Reservation:
    """The part of a credential's budget that is stored as spent, but isn't yet."""

    credential: str
    budget: APIBudget
    store: SpendingStore
    left: int = field(default=0, init=False)
    _renewing: trio.Lock = field(default_factory=trio.Lock, init=False)

    async def renew(self, points: int) -> None:
        """Reserve a slice of at least so many points, unless that much is reserved already.

        If the store can't be written, calls go on; only the next start would then count too little.
        """
        async with self._renewing:
            if self.left < points:
                self.left = 0
                left = max(self.budget.points // SLICES, points)
                await self.write(left)
                self.left = left

    async def end(self) -> None:
        """Store what is spent, and reserve no more."""
        async with self._renewing:
            self.left = 0
            await self.write(0)

    async def write(self, left: int | None = None) -> None:
        """Store what has been spent, and the reserved points; by default, what is left of the reservation."""
        now, at = trio.current_time(), time.time()
        spent = Counter[tuple[int, str]]()
        for when, points, purpose in self.budget.recently_spent(now):
            # Whole seconds stay the same, however often they are read and written.
            spent[math.ceil(when - now + at - 0.01), purpose_name(purpose)] += points
        try:
            with trio.fail_after(STORE_SECONDS):
                await self.store.put(
                    self.credential,
                    at=at,
                    spent=[(second, points) for (second, _), points in spent.items()],
                    purposes=[purpose for _, purpose in spent],
                    reserved=self.budget.under_way + (self.left if left is None else left),
                    closed_until=at + max(self.budget.closed_until - now, 0.0),
                )
        except Exception as error:  # noqa: BLE001  (as the docstring of `renew` says)
            log.warning("spending not stored", credential=self.credential, error=repr(error))


def restore(budget: APIBudget, stored: StoredSpending) -> None:
    """Count in an unused budget what an earlier process has spent or may have spent."""
    now = trio.current_time()
    offset = now - time.time()
    # If the clock was set back, this counts for no longer than points that are spent now.
    spent = [(min(at + offset, now + 1.0), points) for at, points in stored.spent]
    budget.count_earlier([*spent, (now, stored.reserved)], now)
    budget.close(min(stored.closed_until + offset, now + LONGEST_CLOSED))
