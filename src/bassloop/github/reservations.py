"""Reservations: points of a rate limit are stored as spent before they are, a slice at a time.

GitHub still counts the calls of a process that was killed, so its successor has to count them as well. Storing each
call would be too expensive. Instead, a process stores what it has spent together with one slice that it may spend
next. A successor knows exactly what was spent except for that slice, and counts all of it.

Nodes that share a credential count each other's spending in the same way. A node first stores its slice, then reads
what the others have stored, and spends from the slice only when all of that fits into the window. Of two nodes that
reserve at the same time, at least one sees the other's slice, so together they never spend too much. While a node
waits, its slice holds its place: the others leave these points to it. A slice may only be spent for HELD_SECONDS, so
that the others know when to stop counting what a node hasn't spent.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

from bassloop.github.api_budget import purpose_name, purpose_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bassloop.github.api_budget import APIBudget

log = structlog.get_logger(__name__)

SLICES = 34
"""The number of slices in a budget, for each node; up to one is lost with each process that is killed."""

HELD_SECONDS = 30.0
"""How long a slice may be spent."""

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


class SharedSpending(Protocol):
    """What other nodes have spent of a credential. All times are in seconds since the epoch, by this node's clock.

    Attributes:
        spent: times, points and the names of purposes.
        reserved: the times at which slices were stored, and the points that were left of them then.
        closed_until: when GitHub accepts the credential's calls again.
    """

    @property
    def spent(self) -> Sequence[tuple[float, int, str]]: ...
    @property
    def reserved(self) -> Sequence[tuple[float, int]]: ...
    @property
    def closed_until(self) -> float: ...


class SpendingStore(Protocol):
    """A store for what credentials have spent. It may fail, for example when the disk is full."""

    async def all(self) -> Mapping[str, StoredSpending]:
        """Return the stored spending of earlier processes by credential."""

    async def of_others(self, credential: str) -> SharedSpending:
        """Return what other nodes have stored."""

    async def put(
        self,
        credential: str,
        *,
        at: float,
        spent: Sequence[tuple[float, int]],
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
    """The part of a credential's budget that is stored as spent, but isn't yet.

    Args:
        nodes: how many nodes share the budget.
        left: the points that are left of the slice.
    """

    credential: str
    budget: APIBudget
    store: SpendingStore
    nodes: int = 1
    left: int = field(default=0, init=False)
    _reserved_at: float = field(default=-math.inf, init=False)
    _renewing: trio.Lock = field(default_factory=trio.Lock, init=False)

    def covers(self, points: int) -> bool:
        """Return whether this many points are reserved and may still be spent."""
        held = trio.current_time() - self._reserved_at
        return self.left >= points and held < HELD_SECONDS

    async def renew(self, points: int) -> None:
        """Reserve a slice of at least this many points, unless they are reserved already, and count others' spending.

        If the store can't be used, calls go on; only the next start and other nodes would then count too little.
        """
        async with self._renewing:
            if not self.covers(points):
                self.left, began = 0, trio.current_time()
                left = max(self.budget.points // (SLICES * self.nodes), points)
                if await self.write(left):
                    await self._count_others()
                self.left, self._reserved_at = left, began

    async def end(self) -> None:
        """Store what is spent, and reserve no more."""
        async with self._renewing:
            self.left = 0
            await self.write(0)

    async def write(self, left: int | None = None) -> bool:
        """Store what has been spent, and the reserved points; by default, what is left of the reservation.

        Return False if the store couldn't be written.
        """
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
            return False
        return True

    async def _count_others(self) -> None:
        try:
            with trio.fail_after(STORE_SECONDS):
                others = await self.store.of_others(self.credential)
        except Exception as error:  # noqa: BLE001  (as the docstring of `renew` says)
            log.warning("spending not read", credential=self.credential, error=repr(error))
            return
        now = trio.current_time()
        offset = now - time.time()
        # Clocks that differ mustn't keep this node waiting for longer than a slice that is reserved now.
        latest = now + HELD_SECONDS
        spent = [
            (min(at + offset, latest), points, purpose_of(name))
            for at, points, name in others.spent
        ]
        reserved = [
            (min(at + offset + HELD_SECONDS, latest), points, None)
            for at, points in others.reserved
        ]
        self.budget.count_others([*spent, *reserved], now)
        self.budget.close(min(others.closed_until + offset, now + LONGEST_CLOSED))


def restore(budget: APIBudget, stored: StoredSpending) -> None:
    """Count in an unused budget what an earlier process has spent or may have spent."""
    now = trio.current_time()
    offset = now - time.time()
    # If the clock was set back, this counts for no longer than points that are spent now.
    spent = [(min(at + offset, now + 1.0), points) for at, points in stored.spent]
    budget.count_earlier([*spent, (now, stored.reserved)], now)
    budget.close(min(stored.closed_until + offset, now + LONGEST_CLOSED))
