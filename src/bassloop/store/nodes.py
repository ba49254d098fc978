"""Nodes: the daemons that share a database, their leases and runtimes, and taking over from a lost node.

The functions at the end run on the separate connection with which a node renews its lease
(`engines.postgresql_lease`).
"""

from __future__ import annotations

import json
import secrets
import socket
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from bassloop.store.claims import LIVE, take_over_requests
from bassloop.store.deliveries import take_over_deliveries
from bassloop.store.engine import Subject, reads, writes
from bassloop.store.liveness import LEASE_SECONDS, Node, NodeRecord
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
"""How long a lost node stays in the list of nodes."""


class Runtimes(Subject):
    """The runtimes that are currently connected."""

    @writes
    def add(self, db: Connection, runtime: RuntimeRecord) -> None:
        """Store a runtime that has connected to this node. Raises StoreConflict if its id is taken."""
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
        """Return the runtimes that are connected to other nodes that aren't draining, by descending priority."""
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


def new_node(name: str = "", address: str = "", version: str = "") -> Node:
    """Return this process as a node, named after the host by default."""
    return Node(secrets.token_hex(8), name or socket.gethostname(), address, version)


class Peer(NamedTuple):
    """How to reach a node.

    Args:
        address: the URL of its pages.
        is_alive: whether it has a lease that hasn't expired.
    """

    id: str
    name: str
    address: str
    is_alive: bool


@dataclass(frozen=True, slots=True)
class Takeover:
    """What a node has taken over from others.

    Args:
        nodes: the names of nodes that have ended, or haven't renewed their lease in time.
        deliveries: unfinished deliveries, oldest first.
        runs: runs that haven't ended, aren't concluded on GitHub, or have an open log.
    """

    nodes: Sequence[str]
    deliveries: Sequence[Delivery]
    runs: Sequence[Run]


class Duty(StrEnum):
    """Duties that one node performs for all."""

    PRUNING = "pruning"
    REDELIVERY = "redelivery"
    VISIBILITY = "visibility"


class Nodes(Subject):
    """The nodes of the loop."""

    @property
    def own_id(self) -> str:
        """The id of this node; empty if the database is an SQLite file."""
        return self._engine.node

    @reads
    def recorder_of(self, db: Connection, run_id: str) -> Peer | None:
        """Return the node that records a run, or None if the run isn't being recorded."""
        return self._peer(
            db,
            "SELECT r.node AS id, n.name, n.address, n.alive_until, n.ended_at FROM runs r "
            "LEFT JOIN nodes n ON n.id = r.node WHERE r.id = ? AND r.node != '' AND "
            "(r.ended_at IS NULL OR EXISTS (SELECT 1 FROM vertexes v WHERE v.run_id = r.id "
            "AND v.log_state = 'open'))",
            run_id,
        )

    @reads
    def node_of_runner(self, db: Connection, run_id: str) -> Peer | None:
        """Return the node that the runner of a run is connected to, or else another runner of its user; or None."""
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
        """Return the nodes, sorted by name: including lost ones, but not those that have ended regularly."""
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

    @reads
    def has_others(self, db: Connection) -> bool:
        """Return whether any other node is alive."""
        query = "SELECT 1 FROM nodes WHERE id != ? AND ended_at IS NULL AND alive_until > ? LIMIT 1"
        now = self._engine.database.now(db)
        return db.execute(query, (self.own_id, now)).fetchone() is not None

    @writes
    def drain(self, db: Connection, name: str) -> int:
        """Ask the live nodes with this name to drain, and return how many there are."""
        return db.execute(
            "UPDATE nodes SET draining = 1 WHERE name = ? AND ended_at IS NULL AND alive_until > ?",
            (name, self._engine.database.now(db)),
        ).rowcount

    @writes
    def note_draining(self, db: Connection) -> None:
        """Record that this node is draining, so that no more work is assigned to it."""
        db.execute("UPDATE nodes SET draining = 1 WHERE id = ?", (self._engine.node,))

    async def take_duty(self, duty: Duty) -> bool:
        """Take a duty unless another node has it, and return whether this node has it.

        A node keeps its duties until it drains or is lost.
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
    def take_over(self, db: Connection, dead: Sequence[str] = ()) -> Takeover:
        """Take over from all nodes that have ended or whose lease has expired, which can't write any more then.

        Also takes over the deliveries that draining nodes haven't begun.

        Args:
            dead: the ids of nodes that are known to be dead, although their lease hasn't expired.
        """
        heir, now = self._engine.node, self._engine.database.now(db)
        ended = db.execute(
            "UPDATE nodes SET heir = :heir, ended_at = coalesce(ended_at, :now) "
            "WHERE heir = '' AND id != :heir AND (ended_at IS NOT NULL OR alive_until <= :now "
            "OR id IN (SELECT value FROM json_each(:dead))) RETURNING name",
            {"heir": heir, "now": now, "dead": json.dumps(list(dead))},
        ).fetchall()
        db.execute(
            "DELETE FROM nodes WHERE heir != '' AND alive_until < ?", (now - FORGET_SECONDS,)
        )
        db.execute(f"DELETE FROM runtimes WHERE node NOT IN ({LIVE})")
        take_over_requests(db, heir)
        deliveries = take_over_deliveries(db, heir)
        return Takeover([row["name"] for row in ended], deliveries, take_over_runs(db, heir))


class Renewal(NamedTuple):
    """The result of renewing a lease.

    Args:
        is_renewed: False if other nodes have already taken over.
        is_draining: whether this node was asked to drain.
        others: how many other nodes are alive.
        successors: how many of those aren't draining.
        has_ended: whether another node has ended, drains, or hasn't renewed its lease in time.
    """

    is_renewed: bool
    is_draining: bool
    others: int
    successors: int
    has_ended: bool


def join(db: Connection, node: Node, identity: str, now: float) -> str | None:
    """Register a node. If a live node has another `identity`, return the name of that one instead; else None."""
    foreign = db.execute(
        "SELECT name FROM nodes WHERE ended_at IS NULL AND alive_until > ? AND identity != ?",
        (now, identity),
    ).fetchone()
    if foreign is not None:
        return str(foreign["name"])
    db.execute(
        "INSERT INTO nodes (id, name, address, version, started_at, alive_until, draining, identity) "
        "VALUES (?, ?, ?, ?, ?, ?, 0, ?) "
        # The row exists if the connection was lost during the commit of an earlier attempt.
        "ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until WHERE nodes.ended_at IS NULL",
        (node.id, node.name, node.address, node.version, now, now + LEASE_SECONDS, identity),
    )
    return None


def is_live(db: Connection, node: str) -> bool:
    """Return whether a node may write."""
    return bool(db.execute(f"SELECT 1 WHERE ? IN ({LIVE})", (node,)).fetchone())


def any_alive(db: Connection, now: float) -> bool:
    """Return whether any node is alive."""
    query = "SELECT 1 FROM nodes WHERE ended_at IS NULL AND alive_until > ? LIMIT 1"
    return db.execute(query, (now,)).fetchone() is not None


def renew_lease(db: Connection, node: Node, now: float) -> Renewal:
    """Renew a node's lease, and check the leases of the others."""
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
    """Record that a node has ended."""
    db.execute(
        "UPDATE nodes SET ended_at = coalesce(ended_at, ?), alive_until = 0 WHERE id = ?",
        (now, node.id),
    )
