"""Runtimes: what the connected runners offer, each connected to a node, and gone with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.store.claims import LIVE
from bassloop.store.engine import Subject, reads, writes
from bassloop.store.notifications import Topic
from bassloop.store.records import RuntimeRecord
from bassloop.store.visitors import ensure_user

if TYPE_CHECKING:
    from bassloop.store.database import Connection

_SERVICE = "runtime"


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
        """Return those that are connected to other nodes that don't drain, the most preferred first."""
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
