"""Who may connect at all: counts and pauses, before a byte of SSH is spoken."""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_REMEMBERED = 10_000


class Refused(Exception):
    """This connection is one too many; the message says of what."""


class Admission:
    """Counts connections, and remembers which addresses were refused too often.

    Args:
        clock: seconds, monotonic.
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
    ) -> None:
        self._connections = connections
        self._per_address = per_address
        self._unauthenticated = unauthenticated
        self._unauthenticated_per_address = unauthenticated_per_address
        self._refusals_per_minute = refusals_per_minute
        self._clock = clock
        self._open: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        self._refusals: OrderedDict[str, tuple[float, float]] = OrderedDict()

    @contextmanager
    def connection(self, address: str) -> Iterator[None]:
        """Count one connection of this address while the body runs. Raises Refused."""
        origin = _origin(address)
        if self._open.total() >= self._connections:
            raise Refused(f"{self._connections} connections are open")
        if self._open[origin] >= self._per_address:
            raise Refused(f"{self._per_address} connections of {origin} are open")
        if self._recent(origin) > self._refusals_per_minute - 1:
            raise Refused(f"{origin} was refused {self._refusals_per_minute} times within a minute")
        with _one_more(self._open, origin):
            yield

    @contextmanager
    def authenticating(self, address: str) -> Iterator[None]:
        """Count one connection that has not shown a key yet while the body runs. Raises Refused."""
        origin = _origin(address)
        if self._unknown.total() >= self._unauthenticated:
            raise Refused(f"{self._unauthenticated} connections are not authenticated yet")
        if self._unknown[origin] >= self._unauthenticated_per_address:
            limit = self._unauthenticated_per_address
            raise Refused(f"{limit} connections of {origin} are not authenticated yet")
        with _one_more(self._unknown, origin):
            yield

    def refused(self, address: str) -> None:
        """This address had no right key."""
        origin = _origin(address)
        self._refusals[origin] = (self._recent(origin) + 1, self._clock())
        self._refusals.move_to_end(origin)
        while len(self._refusals) > MOST_REMEMBERED:
            self._refusals.popitem(last=False)

    def _recent(self, origin: str) -> float:
        """Refusals that count still: they are forgiven at the rate at which they are allowed."""
        count, at = self._refusals.get(origin, (0.0, 0.0))
        return max(0.0, count - (self._clock() - at) * self._refusals_per_minute / 60)

    def statistics(self) -> dict[str, int]:
        """Numbers for logs and metrics."""
        return {
            "connections": self._open.total(),
            "addresses": len(self._open),
            "unauthenticated": self._unknown.total(),
        }

    def __repr__(self) -> str:
        now = self.statistics()
        where = f"{now['connections']} of {now['addresses']} addresses"
        return f"<Admission: {where}, {now['unauthenticated']} not authenticated>"


@contextmanager
def _one_more(counts: Counter[str], origin: str) -> Iterator[None]:
    counts[origin] += 1
    try:
        yield
    finally:
        counts[origin] -= 1
        if not counts[origin]:
            del counts[origin]


def _origin(address: str) -> str:
    """What counts as one address: a subscriber has a whole /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 6:
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
