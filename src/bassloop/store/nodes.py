"""Nodes: the daemons that share a database, and the lease that one of them has.

The functions are what a node does for itself, on a connection of its own (`engines.postgresql_lease`).
"""

from __future__ import annotations

import secrets
import socket
from typing import TYPE_CHECKING, NamedTuple

from bassloop.store.engine import Subject, reads, writes
from bassloop.store.leases import LEASE_SECONDS, Lease
from bassloop.store.records import Node, NodeRecord

if TYPE_CHECKING:
    from bassloop.store.database import Connection

FORGET_SECONDS = 24 * 3600.0
"""How long a node that is gone is listed."""


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
        """Return the nodes, those that are gone included, by their names."""
        now = self._engine.database.now(db)
        lease = find_lease(db)
        rows = db.execute(
            "SELECT id, name, address, version, started_at, alive_until, draining FROM nodes "
            "ORDER BY name, started_at"
        )
        return [
            NodeRecord(
                name=row["name"],
                address=row["address"],
                version=row["version"],
                started_at=row["started_at"],
                seen_seconds=max(now - (row["alive_until"] - LEASE_SECONDS), 0.0),
                alive=now < row["alive_until"],
                carries=lease.node == row["id"] and lease.is_current(now),
                draining=bool(row["draining"]),
            )
            for row in rows
        ]

    @writes
    def drain(self, db: Connection, name: str) -> int:
        """Ask the nodes of a name that are there to drain; return how many there are."""
        return db.execute(
            "UPDATE nodes SET draining = 1 WHERE name = ? AND alive_until > ?",
            (name, self._engine.database.now(db)),
        ).rowcount


def find_lease(db: Connection) -> Lease:
    """Return the lease as it is now."""
    row = db.execute(
        "SELECT node, epoch, until, identity FROM leases WHERE name = 'daemon'"
    ).fetchone()
    return Lease(**row)


def find_name(db: Connection, node: str) -> str:
    """Return the name of a node."""
    row = db.execute("SELECT name FROM nodes WHERE id = ?", (node,)).fetchone()
    return "a node that is gone" if row is None else str(row["name"])


def note_alive(db: Connection, node: Node, now: float) -> bool:
    """Note that a node is there, and return whether it is asked to drain."""
    row = db.execute(
        "INSERT INTO nodes (id, name, address, version, started_at, alive_until, draining) "
        "VALUES (:id, :name, :address, :version, :now, :until, 0) "
        "ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until RETURNING draining",
        {
            "id": node.id,
            "name": node.name,
            "address": node.address,
            "version": node.version,
            "now": now,
            "until": now + LEASE_SECONDS,
        },
    ).fetchone()
    return bool(row["draining"])


def has_company(db: Connection, node: Node, now: float) -> bool:
    """Return whether other nodes are there."""
    (count,) = db.execute(
        "SELECT count(*) FROM nodes WHERE alive_until > ? AND id != ?", (now, node.id)
    ).fetchone()
    return bool(count)


def renew_lease(db: Connection, node: Node, epoch: int, now: float) -> bool:
    """Renew a node's lease; return False if another node has it."""
    changed = db.execute(
        "UPDATE leases SET until = ? WHERE name = 'daemon' AND node = ? AND epoch = ?",
        (now + LEASE_SECONDS, node.id, epoch),
    )
    return bool(changed.rowcount)


def take_lease(db: Connection, node: Node, identity: str, now: float) -> int | None:
    """Take the lease if nobody has it, and return its epoch, or None."""
    row = db.execute(
        "UPDATE leases SET node = ?, epoch = epoch + 1, until = ?, identity = ? "
        "WHERE name = 'daemon' AND (node = '' OR until <= ?) RETURNING epoch",
        (node.id, now + LEASE_SECONDS, identity, now),
    ).fetchone()
    db.execute("DELETE FROM nodes WHERE alive_until < ?", (now - FORGET_SECONDS,))
    return None if row is None else int(row["epoch"])


def give_back(db: Connection, node: Node, epoch: int | None, now: float) -> None:
    """Note that a node ends, and give its lease back if it has it."""
    db.execute("DELETE FROM nodes WHERE id = ?", (node.id,))
    if epoch is not None:
        db.execute(
            "UPDATE leases SET node = '', until = ? WHERE name = 'daemon' AND node = ? AND epoch = ?",
            (now, node.id, epoch),
        )
