"""Leases: which node carries the loop, and until when. Pure: no I/O, no clock.

Several nodes may share a database. One carries the loop, and the others stand by. The node that carries it has
the lease, and renews it. Who takes the lease over raises its *epoch*, and a node whose epoch isn't the lease's
any more can't write: it may have been paused for longer than its lease, and know nothing of its successor.

Times of a lease are by the database's clock, the only one that all nodes share.
"""

from __future__ import annotations

from dataclasses import dataclass

LEASE_SECONDS = 10.0
"""How long a lease lasts unless it is renewed."""

RENEW_SECONDS = 2.0
"""How often it is renewed, and how often nodes that stand by look whether it is over."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of the loop.

    Args:
        node: the id of the node that has it; empty if it was given back.
        epoch: how many times it was taken.
        until: when it ends, in seconds since the epoch, by the database's clock.
        identity: a digest of what all nodes of the loop must have in common.
    """

    node: str
    epoch: int
    until: float
    identity: str

    def is_current(self, now: float) -> bool:
        """Return whether a node carries the loop."""
        return bool(self.node) and now < self.until

    def may_be_taken(self, now: float, identity: str) -> bool:
        """Return whether a node may take the lease now.

        Raises ForeignNode while a node has it with which this one has too little in common.
        """
        if not self.is_current(now):
            return True
        if self.identity != identity:
            raise ForeignNode
        return False


class ForeignNode(Exception):
    """A node isn't of the loop that it wants to be a node of."""


@dataclass(slots=True)
class Tenure:
    """The time for which a node has the lease, as that node knows it by its own monotonic clock.

    Args:
        epoch: the lease's, when the node took it.
        renewed_at: when the last renewal that succeeded was begun.
        has_company: whether other nodes were there then, which may take over.
    """

    epoch: int
    renewed_at: float
    has_company: bool = False

    def renew(self, began: float, *, has_company: bool) -> None:
        """Note that the lease was renewed."""
        self.renewed_at, self.has_company = began, has_company

    def is_over(self, now: float) -> bool:
        """Return whether the node must stop, since another one may have taken over.

        A node that is alone waits for its database instead, and goes on when that is back.
        """
        return self.has_company and now >= self.renewed_at + LEASE_SECONDS
