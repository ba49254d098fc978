"""Leases: what a node is, and for how long it is taken to be there. No I/O, no clock.

Several nodes may share a database, and each works for the loop. A node has a *lease*, which it renews. When that is
over, another node takes over what it had, and from then on it can't write any more: it may have been paused for
longer than its lease, and know nothing of its heir.

Times of a lease are by the database's clock, the only one that all nodes share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import trio

LEASE_SECONDS = 10.0
"""How long a lease lasts unless it is renewed, in seconds."""

RENEW_SECONDS = 2.0
"""How long a node waits before it renews its lease, or looks for leases that are over, in seconds."""


@dataclass(frozen=True, slots=True)
class Node:
    """A daemon, as one of several that may share a database.

    Args:
        id: of this process alone.
        name: what people call it.
        address: where its pages are.
    """

    id: str
    name: str
    address: str
    version: str


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as the others see it.

    Args:
        seen_seconds: for how long nothing has been heard of it.
        alive: whether its lease isn't over.
        draining: whether it was asked to finish what it does, and end.
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
    """The time for which a node has its lease, as that node knows it by `sleepless_time`.

    Args:
        renewed_at: when the last renewal that succeeded was begun.
        others: how many other nodes were there then, which may take over.
        tried_at: when the last renewal was begun that has ended, if that one failed.
    """

    renewed_at: float
    others: int = 0
    tried_at: float = -math.inf

    def renew(self, began: float, others: int) -> None:
        """Note that the lease was renewed."""
        self.renewed_at, self.others = began, others

    def fail(self, began: float) -> None:
        """Note that the lease couldn't be renewed, because the database didn't answer."""
        self.tried_at = began

    def may_write(self, now: float) -> bool:
        """Return whether no other node can have taken over, as far as this one can know.

        A node that was paused for longer than its lease has to look first, also if it was alone: another one may
        have joined.
        """
        looked_at = self.renewed_at if self.others else max(self.renewed_at, self.tried_at)
        return now < looked_at + LEASE_SECONDS

    def is_over(self, now: float) -> bool:
        """Return whether the node must stop, since another one may have taken over.

        A node that is alone waits for its database instead, and goes on when that is back.
        """
        return self.others > 0 and now >= self.renewed_at + LEASE_SECONDS


class Company:
    """How many nodes there are.

    Attributes:
        size: all of them, this one included.
        successors: the others that don't drain.
    """

    def __init__(self) -> None:
        self.size, self.successors = 1, 0
        self._changed = trio.Event()

    def note(self, size: int, successors: int | None = None) -> None:
        """Note how many there are now; of the others, all are successors unless it is said how many are."""
        now = size, size - 1 if successors is None else successors
        if now != (self.size, self.successors):
            self.size, self.successors = now
            self._changed.set()
            self._changed = trio.Event()

    async def changed(self) -> None:
        """Wait until there are more or fewer, or another one drains."""
        await self._changed.wait()
