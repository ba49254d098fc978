"""Leases: how long a node counts as alive. No I/O, no clock.

Several nodes, each a daemon, may share a database. A node has a *lease*, which it renews. Once the lease has expired,
another node (its heir) takes over its work, and from then on the node can't write any more: it may only have been
paused for longer than its lease, and not know about its heir.

The times of leases are by the database's clock, the only one that all nodes share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import trio

LEASE_SECONDS = 10.0
"""How long a lease lasts unless it is renewed."""

RENEW_SECONDS = 2.0
"""The interval at which a node renews its lease and checks those of the others."""


@dataclass(frozen=True, slots=True)
class Node:
    """A daemon, one of several that may share a database.

    Args:
        id: unique to this process.
        name: its name for people.
        address: the URL of its pages.
    """

    id: str
    name: str
    address: str
    version: str


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as the others see it.

    Args:
        seen_seconds: the seconds since it last renewed its lease.
        alive: whether it has a lease that hasn't expired.
        draining: whether it was asked to finish its work and end.
    """

    id: str
    name: str
    address: str
    version: str
    started_at: float
    seen_seconds: float
    alive: bool
    draining: bool

    @property
    def role(self) -> str:
        """The node's state, in words."""
        if not self.alive:
            return "is gone"
        return "drains" if self.draining else "works"


@dataclass(slots=True)
class Tenure:
    """What a node knows about its own lease. Times are by `sleepless_time`.

    Args:
        renewed_at: when the last successful renewal began.
        others: how many other nodes were alive then, which may take over.
        tried_at: when the last failed renewal began.
    """

    renewed_at: float
    others: int = 0
    tried_at: float = -math.inf

    @property
    def has_failed(self) -> bool:
        """Whether the last attempt to renew the lease failed."""
        return self.tried_at > self.renewed_at

    def renew(self, began: float, others: int) -> None:
        """Record a renewal of the lease."""
        self.renewed_at, self.others = began, others

    def fail(self, began: float) -> None:
        """Record that the lease couldn't be renewed, because the database didn't answer."""
        self.tried_at = began

    def may_write(self, now: float) -> bool:
        """Return False once another node may have taken over.

        A node that was paused for longer than its lease must first try to renew it, even if it was alone, since
        another one may have joined meanwhile.
        """
        looked_at = self.renewed_at if self.others else max(self.renewed_at, self.tried_at)
        return now < looked_at + LEASE_SECONDS

    def is_over(self, now: float) -> bool:
        """Return whether the node must stop, since another one may have taken over.

        A node that is alone needn't: it waits for its database, and continues.
        """
        return self.others > 0 and now >= self.renewed_at + LEASE_SECONDS


class Company:
    """The current number of nodes.

    Attributes:
        size: all nodes, including this one.
        successors: other nodes that aren't draining.
    """

    def __init__(self) -> None:
        self.size, self.successors = 1, 0
        self._changed = trio.Event()

    def note(self, size: int, successors: int | None = None) -> None:
        """Set the current numbers. All other nodes are successors by default."""
        now = size, size - 1 if successors is None else successors
        if now != (self.size, self.successors):
            self.size, self.successors = now
            self._changed.set()
            self._changed = trio.Event()

    async def changed(self) -> None:
        """Wait until one of the numbers changes."""
        await self._changed.wait()
