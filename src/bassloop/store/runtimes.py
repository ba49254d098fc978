"""Runtimes that are connected now. The table is emptied when the daemon starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.store.model import RuntimeRecord
from bassloop.store.runs import know_user

if TYPE_CHECKING:
    import sqlite3

_SERVICE = "runtime"


def add(connection: sqlite3.Connection, runtime: RuntimeRecord) -> None:
    know_user(connection, runtime.user_id, runtime.login)
    connection.execute("UPDATE users SET login = ? WHERE id = ?", (runtime.login, runtime.user_id))
    connection.execute(
        "INSERT INTO runtimes (id, user_id, os, arch, priority, connected_at, session, kind) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            runtime.id,
            runtime.user_id,
            runtime.os,
            runtime.arch,
            runtime.priority,
            runtime.connected_at,
            runtime.session,
            runtime.kind,
        ),
    )
    connection.execute(
        "INSERT INTO services (runtime_id, name, address) VALUES (?, ?, ?)",
        (runtime.id, _SERVICE, runtime.address),
    )


def remove_session(connection: sqlite3.Connection, session: str) -> int:
    return connection.execute("DELETE FROM runtimes WHERE session = ?", (session,)).rowcount


def remove_all(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM runtimes")


def connected(connection: sqlite3.Connection) -> list[RuntimeRecord]:
    rows = connection.execute(
        "SELECT t.id, t.user_id, u.login, t.os, t.arch, t.priority, t.connected_at, "
        "ifnull(s.address, '') AS address, t.session, t.kind FROM runtimes t "
        "JOIN users u ON u.id = t.user_id "
        "LEFT JOIN services s ON s.runtime_id = t.id AND s.name = ? "
        "ORDER BY t.connected_at, t.id",
        (_SERVICE,),
    )
    return [RuntimeRecord(**row) for row in rows]
