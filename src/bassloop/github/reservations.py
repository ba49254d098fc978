"""Reservations: what is spent of a rate limit is stored before it is spent, a slice at a time.

GitHub counts the calls of a process that was killed, and its successor has to do so as well. Writing each
call down would be too much; so a process stores what it has spent, and with it that it may spend a slice more.
A successor knows exactly what was spent but for one slice, which it takes to be spent.
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
"""The slices of a budget; one is lost with each process that is killed."""

STORE_SECONDS = 1.0
"""How long a call waits for the store."""

LONGEST_CLOSED = 3600.0
"""Seconds; a credential that is closed for longer was so by a clock that has been set since."""


class StoredSpending(Protocol):
    """What a credential has spent, as it was stored; the arguments of `SpendingStore.put`."""

    @property
    def spent(self) -> Sequence[tuple[int, int]]: ...
    @property
    def reserved(self) -> int: ...
    @property
    def closed_until(self) -> float: ...


class SpendingStore(Protocol):
    """Stores what credentials have spent. May fail, as when the disk is full."""

    async def all(self) -> Mapping[str, StoredSpending]:
        """Return what is stored, by credential."""

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
            spent: seconds since the epoch, and points.
            purposes: what each of those was spent on.
            reserved: the points that are being spent, and may be from now on.
            closed_until: when GitHub accepts the credential's calls again, in seconds since the epoch.
        """


@dataclass(eq=False)
class Reservation:
    """The part of a credential's budget that the store knows of, and that isn't spent yet."""

    credential: str
    budget: APIBudget
    store: SpendingStore
    left: int = field(default=0, init=False)
    _renewing: trio.Lock = field(default_factory=trio.Lock, init=False)

    async def renew(self, points: int) -> None:
        """Reserve a slice, of so many points at least, unless that much is reserved already.

        If the store can't be written to, calls go on: only the next restart is worse off.
        """
        async with self._renewing:
            if self.left < points:
                self.left = 0
                left = max(self.budget.points // SLICES, points)
                await self.write(left)
                self.left = left

    async def end(self) -> None:
        """Store what is spent, and that no more will be."""
        async with self._renewing:
            self.left = 0
            await self.write(0)

    async def write(self, left: int | None = None) -> None:
        """Store what is spent so far, and how much more may be; by default, what is left now."""
        now, at = trio.current_time(), time.time()
        spent = Counter[tuple[int, str]]()
        for when, points, purpose in self.budget.recently_spent(now):
            # In whole seconds, which stay the same however often they are read and written again.
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
    """Count what an earlier process has spent, and may have spent, of a budget that is unused."""
    now = trio.current_time()
    offset = now - time.time()
    # If the clock was set back, nothing counts for longer than what is spent now.
    spent = [(min(at + offset, now + 1.0), points) for at, points in stored.spent]
    budget.count_earlier([*spent, (now, stored.reserved)], now)
    budget.close(min(stored.closed_until + offset, now + LONGEST_CLOSED))
