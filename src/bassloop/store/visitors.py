"""Who may see what, as far as it is stored: repositories and whether they are public, and sessions."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bassloop.store.model import RepositoryRecord, Session

if TYPE_CHECKING:
    import sqlite3

SESSIONS_EACH = 50
"""Sessions that one user has at the same time; the oldest give way."""


def know_repository(
    connection: sqlite3.Connection, known: RepositoryRecord, at: float
) -> RepositoryRecord:
    """Make sure that there is a row, and that it counts as used now. What is known stays: a payload
    may have waited for days. Returns what is known."""
    row = connection.execute(
        "INSERT INTO repositories (id, full_name, installation_id, public, used_at) "
        "VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET used_at = excluded.used_at "
        "RETURNING id, full_name, installation_id, public",
        (known.id, known.full_name, known.installation_id, int(known.public), at),
    ).fetchone()
    return _repository(row)


def put_repository(connection: sqlite3.Connection, now: RepositoryRecord) -> None:
    """See `VisitorOperations.put_repository`."""
    connection.execute(
        "INSERT INTO repositories (id, full_name, installation_id, public, used_at) "
        "VALUES (:id, :full_name, :installation_id, :public, 0) "
        "ON CONFLICT (id) DO UPDATE SET full_name = excluded.full_name, "
        "installation_id = excluded.installation_id, public = excluded.public",
        {
            "id": now.id,
            "full_name": now.full_name,
            "installation_id": now.installation_id,
            "public": int(now.public),
        },
    )
    connection.execute(
        "UPDATE runs SET public = :public, version = version + 1 "
        "WHERE repository_id = :id AND public != :public",
        {"id": now.id, "public": int(now.public)},
    )


def repository(connection: sqlite3.Connection, repository_id: int) -> RepositoryRecord | None:
    row = connection.execute(
        "SELECT id, full_name, installation_id, public FROM repositories WHERE id = ?",
        (repository_id,),
    ).fetchone()
    return None if row is None else _repository(row)


def private_repositories(connection: sqlite3.Connection, limit: int) -> list[int]:
    """Those with runs, most recently used first."""
    rows = connection.execute(
        "SELECT id FROM repositories WHERE public = 0 AND used_at > 0 "
        "ORDER BY used_at DESC, id LIMIT ?",
        (limit,),
    )
    return [row["id"] for row in rows]


def public_repositories(connection: sqlite3.Connection, limit: int) -> list[RepositoryRecord]:
    """Those with runs, most recently used first."""
    rows = connection.execute(
        "SELECT id, full_name, installation_id, public FROM repositories "
        "WHERE public = 1 AND used_at > 0 ORDER BY used_at DESC, id LIMIT ?",
        (limit,),
    )
    return [_repository(row) for row in rows]


def begin_session(
    connection: sqlite3.Connection, secret: str, user_id: int, at: float, expires_at: float
) -> None:
    connection.execute("DELETE FROM sessions WHERE expires_at <= ?", (at,))
    connection.execute(
        "INSERT INTO sessions (digest, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)",
        (_digest(secret), user_id, at, expires_at),
    )
    connection.execute(
        "DELETE FROM sessions WHERE digest IN (SELECT digest FROM sessions WHERE user_id = ? "
        "ORDER BY created_at DESC, digest LIMIT -1 OFFSET ?)",
        (user_id, SESSIONS_EACH),
    )


def session(connection: sqlite3.Connection, secret: str, at: float) -> Session | None:
    row = connection.execute(
        "SELECT u.id AS user_id, u.login, s.expires_at FROM sessions s "
        "JOIN users u ON u.id = s.user_id WHERE s.digest = ? AND s.expires_at > ?",
        (_digest(secret), at),
    ).fetchone()
    return None if row is None else Session(**row)


def end_session(connection: sqlite3.Connection, secret: str) -> bool:
    ended = connection.execute("DELETE FROM sessions WHERE digest = ?", (_digest(secret),))
    return bool(ended.rowcount)


def end_sessions(connection: sqlite3.Connection, user_id: int) -> int:
    return connection.execute("DELETE FROM sessions WHERE user_id = ?", (user_id,)).rowcount


def _repository(row: sqlite3.Row) -> RepositoryRecord:
    return RepositoryRecord(
        row["id"], row["full_name"], row["installation_id"], bool(row["public"])
    )


def _digest(secret: str) -> str:
    """What is kept of a session's secret, so that a copy of the database opens no session."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
