"""Decides which connections are admitted, before a byte of SSH is spoken.

Strangers, who have not shown a key yet, have a pool of their own; above half of it they are dropped at random,
the more the fuller it is, as OpenSSH's ``MaxStartups`` does: who floods it drops mostly their own connections.
Addresses that have authenticated before have another pool of the same size, so that no flood of strangers
keeps known runners out. A subscriber has a whole /64 of IPv6, and may well have a /48.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bassloop.addresses import origins
from bassloop.concurrency import TokenBucket, TTLCache

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

MAX_REMEMBERED = 10_000
KNOWN_SECONDS = 30 * 86_400.0
NETWORK_FACTOR = 4
"""How many times as many connections as one address a whole /48 may have."""


class NotAdmitted(Exception):
    """A connection is one too many; the message says of which kind."""


class Admission:
    """Counts connections, and remembers which addresses were refused too often, or have authenticated.

    Args:
        clock: seconds, monotonic.
        random: returns a number from 0 to 1, for the connections that are dropped early.
    """

    def __init__(
        self,
        *,
        connections: int,
        per_address: int,
        unauthenticated: int,
        unauthenticated_per_address: int,
        refusals_per_minute: int,
        clock: Callable[[], float],
        random: Callable[[], float] = random.random,
    ) -> None:
        self._connections = connections
        self._per_address = per_address
        self._unauthenticated = unauthenticated
        self._unauthenticated_per_address = unauthenticated_per_address
        self._refusals_per_minute = refusals_per_minute
        self._clock = clock
        self._random = random
        self._open: Counter[str] = Counter()
        self._strangers: Counter[str] = Counter()
        self._known_pending: Counter[str] = Counter()
        self._open_networks: Counter[str] = Counter()
        self._pending_networks: Counter[str] = Counter()
        self._refusals = TTLCache[str, TokenBucket](MAX_REMEMBERED, clock=clock)
        self._known = TTLCache[str, bool](MAX_REMEMBERED, KNOWN_SECONDS, clock=clock)

    @contextmanager
    def connection(self, address: str) -> Generator[None]:
        """Count one connection of this address while the body runs. Raises NotAdmitted."""
        if self._open.total() >= self._connections:
            raise NotAdmitted(f"{self._connections} connections are open")
        origin, network = origins(address)
        self._check(self._open, self._open_networks, address, self._per_address, "open")
        refusals = self._refusals.get(origin)
        if refusals is not None and refusals.tokens < 1:
            limit = self._refusals_per_minute
            raise NotAdmitted(f"{origin} was refused {limit} times within a minute")
        with _one_more(self._open, origin), _one_more(self._open_networks, network):
            yield

    @contextmanager
    def authenticating(self, address: str) -> Generator[None]:
        """Count one connection that has not shown a key yet while the body runs. Raises NotAdmitted."""
        origin, network = origins(address)
        is_known = origin in self._known
        pending = self._known_pending if is_known else self._strangers
        total = pending.total()
        if total >= self._unauthenticated:
            raise NotAdmitted(f"{self._unauthenticated} connections are not authenticated yet")
        limit = self._unauthenticated_per_address
        self._check(pending, self._pending_networks, address, limit, "not authenticated yet")
        if not is_known and self._random() < self._drop_chance(total):
            raise NotAdmitted(f"dropped at random: {total} connections are not authenticated yet")
        with _one_more(pending, origin), _one_more(self._pending_networks, network):
            yield

    def _drop_chance(self, total: int) -> float:
        half = self._unauthenticated / 2
        return max(total - half, 0) / half

    def _check(
        self, counts: Counter[str], networks: Counter[str], address: str, limit: int, state: str
    ) -> None:
        origin, network = origins(address)
        if counts[origin] >= limit:
            raise NotAdmitted(f"{limit} connections of {origin} are {state}")
        limit *= NETWORK_FACTOR
        if network != origin and networks[network] >= limit:
            raise NotAdmitted(f"{limit} connections of {network} are {state}")

    def authenticated(self, address: str) -> None:
        """Remember that somebody authenticated from this address."""
        self._known.store(origins(address)[0], True)

    def refused(self, address: str) -> None:
        """Count a connection of this address that showed no right key."""
        origin = origins(address)[0]
        refusals = self._refusals.get(origin) or TokenBucket(
            self._refusals_per_minute, self._refusals_per_minute / 60, clock=self._clock
        )
        refusals.take()
        self._refusals.store(origin, refusals)

    def statistics(self) -> dict[str, int]:
        """Return numbers for logs and metrics."""
        return {
            "connections": self._open.total(),
            "addresses": len(self._open),
            "unauthenticated": self._strangers.total() + self._known_pending.total(),
        }

    def __repr__(self) -> str:
        now = self.statistics()
        where = f"{now['connections']} of {now['addresses']} addresses"
        return f"<Admission: {where}, {now['unauthenticated']} not authenticated>"


@contextmanager
def _one_more(counts: Counter[str], origin: str) -> Generator[None]:
    counts[origin] += 1
    try:
        yield
    finally:
        counts[origin] -= 1
        if not counts[origin]:
            del counts[origin]
