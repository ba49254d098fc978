"""Admission control: which connections are accepted, before the SSH handshake; and headers of the PROXY protocol.

Connections that haven't authenticated yet have a pool of their own. If it's more than half full, new ones are dropped
at random, with a probability that grows as it fills, like OpenSSH's ``MaxStartups``: most of those dropped belong to
whoever floods it. Addresses that have authenticated before have another pool of the same size, so a flood can't keep
known runners out. Limits per address apply to a /64 of IPv6, and higher ones to a /48, because a subscriber may have
either.
"""

from __future__ import annotations

import random
import struct
from collections import Counter
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from bassloop.addresses import origins
from bassloop.concurrency import TokenBucket, TTLCache

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
MAX_HEADER = 1024
"""The maximum length of a header. Addresses take 52 bytes, and load balancers add little to them."""

_START = struct.Struct(">12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_TCP_OVER_IPV4, _TCP_OVER_IPV6 = 0x11, 0x21
_UNSPECIFIED = 0x00
_VERSION_1 = b"PROXY "

MAX_REMEMBERED = 10_000
KNOWN_SECONDS = 30 * 86_400.0
NETWORK_FACTOR = 4
"""How many times the limit of one address applies to a /48."""


class BadHeader(ValueError):
    """The bytes aren't a header of version 2. The message says what they are instead."""


class HeaderReader:
    """Reads a header of the PROXY protocol, incrementally.

    Attributes:
        wanted: the maximum number of bytes to feed next; 0 once the header is complete.
        source: after that, the client's address, or None if the connection is the balancer's own.
    """

    def __init__(self) -> None:
        self.wanted = _START.size
        self.source: IPv4Address | IPv6Address | None = None
        self._data = b""
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Add the next bytes. Raises BadHeader as soon as they can't be a header any more."""
        if len(data) > self.wanted:
            raise ValueError(f"{len(data)} bytes were fed, and {self.wanted} were wanted")
        self._data += data
        self.wanted -= len(data)
        if not self._size:
            self._check_signature()
        if self.wanted:
            return
        if not self._size:
            self._size = self.wanted = self._read_start()
        if not self.wanted:
            self.source = self._read_source()

    def _check_signature(self) -> None:
        start = self._data[: len(SIGNATURE)]
        if SIGNATURE.startswith(start):
            return
        if start.startswith(_VERSION_1[: len(start)]):
            if len(start) < len(_VERSION_1):
                return
            raise BadHeader("it is version 1 of the PROXY protocol; send version 2 (send-proxy-v2)")
        raise BadHeader("there is no header of the PROXY protocol; send version 2 (send-proxy-v2)")

    def _read_start(self) -> int:
        """Return the number of bytes after the fixed part of the header."""
        _, command, _, size = _START.unpack(self._data)
        if command not in (_LOCAL, _PROXY):
            raise BadHeader(f"version and command {command:#04x} are unknown")
        if _START.size + size > MAX_HEADER:
            raise BadHeader(f"the header has more than {MAX_HEADER} bytes")
        return int(size)

    def _read_source(self) -> IPv4Address | IPv6Address | None:
        _, command, family, size = _START.unpack_from(self._data)
        body = self._data[_START.size :]
        if command == _LOCAL or family == _UNSPECIFIED:
            return None
        if family == _TCP_OVER_IPV4 and size >= 12:
            return IPv4Address(body[:4])
        if family == _TCP_OVER_IPV6 and size >= 36:
            address = IPv6Address(body[:16])
            return address.ipv4_mapped or address
        raise BadHeader(f"it has no address of TCP (family {family:#04x}, {size} bytes)")


class NotAdmitted(Exception):
    """A connection exceeds a limit, which the message names."""


class Admission:
    """Counts connections, and remembers which addresses have been refused too often, or have authenticated.

    Args:
        clock: returns monotonic seconds.
        random: returns a number from 0 to 1, for connections that are dropped at random.
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
        """Count a connection from this address while the body runs. Raises NotAdmitted."""
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
        """Count a connection that hasn't authenticated yet while the body runs. Raises NotAdmitted."""
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
        """Count a connection from this address that failed to authenticate."""
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
