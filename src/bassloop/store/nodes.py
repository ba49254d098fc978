"""Nodes: the daemons that share a database, their leases, and what one takes over from another.

The functions are what a node does for itself, on a connection of its own (`engines.postgresql_lease`).
"""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from bassloop.store.claims import LIVE, take_over_requests
from bassloop.store.deliveries import take_over_deliveries
from bassloop.store.engine import Subject, reads, writes
from bassloop.store.leases import LEASE_SECONDS, Node, NodeRecord
from bassloop.store.notifications import Topic
from bassloop.store.records import RuntimeRecord
from bassloop.store.runs import take_over_runs
from bassloop.store.visitors import ensure_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bassloop.store.database import Connection
    from bassloop.store.records import Delivery, Run


_SERVICE = "runtime"

FORGET_SECONDS = 24 * 3600.0
"""How long a node that is gone is listed, in seconds."""


class Runtimes(Subject):
    """The runtimes that are connected now."""

    @writes
    def add(self, db: Connection, runtime: RuntimeRecord) -> None:
        """Store a runtime that has connected to this node. Raises StoreConflict if its id is stored already."""
        ensure_user(db, runtime.user_id, runtime.login)
        db.execute("UPDATE users SET login = ? WHERE id = ?", (runtime.login, runtime.user_id))
        db.execute(
            "INSERT INTO runtimes (id, user_id, os, arch, priority, connected_at, session, kind, node) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                runtime.id,
                runtime.user_id,
                runtime.os,
                runtime.arch,
                runtime.priority,
                runtime.connected_at,
                runtime.session,
                runtime.kind,
                self._engine.node,
            ),
        )
        db.execute(
            "INSERT INTO services (runtime_id, name, address) VALUES (?, ?, ?)",
            (runtime.id, _SERVICE, runtime.address),
        )
        self._engine.database.notify(db, Topic.RUNTIMES, str(runtime.user_id))

    @writes
    def remove_session(self, db: Connection, session: str) -> int:
        """Remove the runtimes of an SSH session that ended, and return how many there were."""
        return db.execute("DELETE FROM runtimes WHERE session = ?", (session,)).rowcount

    @reads
    def elsewhere(self, db: Connection) -> list[RuntimeRecord]:
        """Return the runtimes that are connected to other nodes that don't drain, the most preferred first."""
        if not self._engine.node:
            return []
        rows = db.execute(
            "SELECT t.id, t.user_id, u.login, t.os, t.arch, t.priority, t.connected_at, '' AS address, "
            "t.session, t.kind, t.node FROM runtimes t JOIN users u ON u.id = t.user_id "
            f"WHERE t.node != ? AND t.node IN ({LIVE} AND draining = 0) "
            "ORDER BY t.priority DESC, t.connected_at, t.id",
            (self._engine.node,),
        )
        return [RuntimeRecord(**row) for row in rows]

    @reads
    def connected(self, db: Connection) -> list[RuntimeRecord]:
        """Return the connected runtimes in the order in which they connected."""
        rows = db.execute(
            "SELECT t.id, t.user_id, u.login, t.os, t.arch, t.priority, t.connected_at, "
            "coalesce(s.address, '') AS address, t.session, t.kind, t.node FROM runtimes t "
            "JOIN users u ON u.id = t.user_id "
            "LEFT JOIN services s ON s.runtime_id = t.id AND s.name = ? "
            "ORDER BY t.connected_at, t.id",
            (_SERVICE,),
        )
        return [RuntimeRecord(**row) for row in rows]


def remove_lost_runtimes(db: Connection) -> None:
    """Remove the runtimes that were connected to nodes that are gone."""
    db.execute(f"DELETE FROM runtimes WHERE node NOT IN ({LIVE})")


def new_node(name: str = "", address: str = "", version: str = "") -> Node:
    """Return this process as a node, called as the host is unless it has a name."""
    return Node(secrets.token_hex(8), name or socket.gethostname(), address, version)


class Peer(NamedTuple):
    """A node as others reach it.

    Args:
        address: the URL of its pages.
        is_alive: whether it was heard of in time.
    """

    id: str
    name: str
    address: str
    is_alive: bool


@dataclass(frozen=True, slots=True)
class Inheritance:
    """The things that a node has taken over from others.

    Args:
        nodes: the names of those that ended or weren't heard of in time.
        deliveries: those that haven't ended, oldest first, without bodies.
        runs: those that haven't ended, aren't concluded on GitHub, or have a log that isn't closed.
    """

    nodes: Sequence[str]
    deliveries: Sequence[Delivery]
    runs: Sequence[Run]


class Duty(StrEnum):
    """The duties that one node does for all of them."""

    PRUNING = "pruning"
    REDELIVERY = "redelivery"
    VISIBILITY = "visibility"


class Nodes(Subject):
    """The nodes of the loop."""

    @property
    def own_id(self) -> str:
        """The id of this node; empty if it is the only daemon of a file."""
        return self._engine.node

    @reads
    def recorder_of(self, db: Connection, run_id: str) -> Peer | None:
        """Return the node that records a run; None if all of it is stored, or none has begun to."""
        return self._peer(
            db,
            "SELECT r.node AS id, n.name, n.address, n.alive_until, n.ended_at FROM runs r "
            "LEFT JOIN nodes n ON n.id = r.node WHERE r.id = ? AND r.node != '' AND "
            "(r.ended_at IS NULL OR EXISTS (SELECT 1 FROM vertexes v WHERE v.run_id = r.id "
            "AND v.log_state = 'open'))",
            run_id,
        )

    @reads
    def runner_s_node(self, db: Connection, run_id: str) -> Peer | None:
        """Return the node that the runner of a run is connected to, or another one of its user; or None."""
        return self._peer(
            db,
            "SELECT n.id, n.name, n.address, n.alive_until, n.ended_at FROM runs r "
            "JOIN runtimes t ON t.user_id = r.user_id JOIN nodes n ON n.id = t.node "
            "WHERE r.id = ? ORDER BY CASE WHEN t.id = r.runtime_id THEN 0 ELSE 1 END LIMIT 1",
            run_id,
        )

    def _peer(self, db: Connection, query: str, run_id: str) -> Peer | None:
        row = db.execute(query, (run_id,)).fetchone()
        if row is None:
            return None
        until = row["alive_until"] or 0.0
        is_alive = row["ended_at"] is None and self._engine.database.now(db) < until
        return Peer(row["id"], row["name"] or "", row["address"] or "", is_alive)

    @reads
    def all(self, db: Connection) -> list[NodeRecord]:
        """Return the nodes by their names, also those that were lost, but not those that have ended."""
        now = self._engine.database.now(db)
        rows = db.execute(
            "SELECT id, name, address, version, started_at, alive_until, draining, ended_at FROM nodes "
            "WHERE alive_until > 0 ORDER BY name, started_at"
        )
        return [
            NodeRecord(
                id=row["id"],
                name=row["name"],
                address=row["address"],
                version=row["version"],
                started_at=row["started_at"],
                seen_seconds=max(now - (row["alive_until"] - LEASE_SECONDS), 0.0),
                alive=row["ended_at"] is None and now < row["alive_until"],
                draining=bool(row["draining"]),
            )
            for row in rows
        ]

    @writes
    def drain(self, db: Connection, name: str) -> int:
        """Ask the nodes of a name that are there to drain; return how many there are."""
        return db.execute(
            "UPDATE nodes SET draining = 1 WHERE name = ? AND ended_at IS NULL AND alive_until > ?",
            (name, self._engine.database.now(db)),
        ).rowcount

    @writes
    def note_draining(self, db: Connection) -> None:
        """Note that this node drains, so that nothing more is left to it."""
        db.execute("UPDATE nodes SET draining = 1 WHERE id = ?", (self._engine.node,))

    async def take_duty(self, duty: Duty) -> bool:
        """Return whether this node is the one that does a duty, which it becomes if no other is.

        A node has its duties until it drains or is gone.
        """
        return not self.own_id or await self._take_duty(duty)

    @writes
    def _take_duty(self, db: Connection, duty: Duty) -> bool:
        taken = db.execute(
            "INSERT INTO leases (name, node, epoch, until, identity) VALUES (?, ?, 1, 0, '') "
            "ON CONFLICT (name) DO UPDATE SET node = excluded.node, epoch = leases.epoch + 1 "
            "WHERE leases.node = excluded.node "
            f"OR leases.node NOT IN ({LIVE} AND draining = 0)",
            (duty, self._engine.node),
        )
        return bool(taken.rowcount)

    @writes
    def take_over(self, db: Connection) -> Inheritance:
        """Take over what nodes had that have ended, or weren't heard of in time; those can't write any more.

        What a draining node hasn't begun is taken over, too.
        """
        heir, now = self._engine.node, self._engine.database.now(db)
        ended = db.execute(
            "UPDATE nodes SET heir = :heir, ended_at = coalesce(ended_at, :now) "
            "WHERE heir = '' AND id != :heir AND (ended_at IS NOT NULL OR alive_until <= :now) "
            "RETURNING name",
            {"heir": heir, "now": now},
        ).fetchall()
        db.execute(
            "DELETE FROM nodes WHERE heir != '' AND alive_until < ?", (now - FORGET_SECONDS,)
        )
        remove_lost_runtimes(db)
        take_over_requests(db, heir)
        deliveries = take_over_deliveries(db, heir)
        return Inheritance([row["name"] for row in ended], deliveries, take_over_runs(db, heir))


class Renewal(NamedTuple):
    """The findings of a node that renews its lease.

    Args:
        is_renewed: whether it still had one.
        is_draining: whether it is asked to drain.
        others: how many other nodes are there.
        successors: how many of those don't drain.
        has_ended: whether others have ended, or weren't heard of in time, or drain.
    """

    is_renewed: bool
    is_draining: bool
    others: int
    successors: int
    has_ended: bool


def join(db: Connection, node: Node, identity: str, now: float) -> str | None:
    """Become a node of the loop. Return the name of one that has too little in common with it, or None."""
    foreign = db.execute(
        "SELECT name FROM nodes WHERE ended_at IS NULL AND alive_until > ? AND identity != ?",
        (now, identity),
    ).fetchone()
    if foreign is not None:
        return str(foreign["name"])
    db.execute(
        "INSERT INTO nodes (id, name, address, version, started_at, alive_until, draining, identity) "
        "VALUES (?, ?, ?, ?, ?, ?, 0, ?) "
        # It has joined already if the connection was lost during the commit.
        "ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until WHERE nodes.ended_at IS NULL",
        (node.id, node.name, node.address, node.version, now, now + LEASE_SECONDS, identity),
    )
    return None


def is_live(db: Connection, node: str) -> bool:
    """Return whether a node may write."""
    return bool(db.execute(f"SELECT 1 WHERE ? IN ({LIVE})", (node,)).fetchone())


def any_alive(db: Connection, now: float) -> bool:
    """Return whether a node is there."""
    query = "SELECT 1 FROM nodes WHERE ended_at IS NULL AND alive_until > ? LIMIT 1"
    return db.execute(query, (now,)).fetchone() is not None


def renew_lease(db: Connection, node: Node, now: float) -> Renewal:
    """Renew a node's lease, and look at the others."""
    own = db.execute(
        "UPDATE nodes SET alive_until = ? WHERE id = ? AND ended_at IS NULL RETURNING draining",
        (now + LEASE_SECONDS, node.id),
    ).fetchone()
    others, successors, ended = db.execute(
        "SELECT coalesce(sum(CASE WHEN ended_at IS NULL AND alive_until > :now THEN 1 ELSE 0 END), 0), "
        "coalesce(sum(CASE WHEN ended_at IS NULL AND alive_until > :now AND draining = 0 THEN 1 ELSE 0 END), 0), "
        "coalesce(sum(CASE WHEN heir = '' AND (ended_at IS NOT NULL OR alive_until <= :now OR draining = 1) "
        "THEN 1 ELSE 0 END), 0) FROM nodes WHERE id != :id",
        {"now": now, "id": node.id},
    ).fetchone()
    is_draining = own is not None and bool(own[0])
    return Renewal(own is not None, is_draining, int(others), int(successors), bool(ended))


def leave(db: Connection, node: Node, now: float) -> None:
    """Note that a node ends."""
    db.execute(
        "UPDATE nodes SET ended_at = coalesce(ended_at, ?), alive_until = 0 WHERE id = ?",
        (now, node.id),
    )
