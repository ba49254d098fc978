"""Users, their logins and sessions, and repositories with their visibility."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING

from bassloop.store.engine import Subject, reads, reads_fail_fast, writes
from bassloop.store.records import LoginRecord, RepositoryRecord, SessionRecord, User

if TYPE_CHECKING:
    from bassloop.store.database import Connection, ResultRow

MAX_LOGINS = 10_000
NOBODY = 0
"""The user id for a login that nobody has any more."""

SESSIONS_EACH = 50
"""The maximum number of sessions of one user. A new session ends the oldest."""


class Users(Subject):
    """The users of GitHub that the loop knows."""

    @writes
    def put(self, db: Connection, user: User) -> None:
        """Store a user, or their new login."""
        db.execute(
            "INSERT INTO users (id, node_id, login) VALUES (?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET node_id = excluded.node_id, login = excluded.login",
            (user.id, user.node_id, user.login),
        )

    @reads
    def get(self, db: Connection, user_id: int) -> User | None:
        """Return a user, or None."""
        row = db.execute("SELECT id, node_id, login FROM users WHERE id = ?", (user_id,)).fetchone()
        return None if row is None else User(**row)


def ensure_user(db: Connection, user_id: int, login: str) -> None:
    """Insert the user unless there is a row for them."""
    db.execute(
        "INSERT INTO users (id, node_id, login) VALUES (?, '', ?) ON CONFLICT (id) DO NOTHING",
        (user_id, login),
    )


class Logins(Subject):
    """Logins and keys of users who have connected a runner, as last seen on GitHub."""

    async def put(
        self,
        name: str,
        *,
        user_id: int,
        node_id: str,
        login: str,
        keys: tuple[str, ...],
        asked_at: float,
    ) -> None:
        """Store GitHub's answer about a login, and delete the oldest answers beyond MAX_LOGINS.

        Changes nothing if a later answer is stored. Raises StoreFull, StoreLocked or StoreUnreachable at once,
        since a runner doesn't wait for the database.

        Args:
            name: the login in lower case.
            asked_at: when GitHub was asked, in seconds since the epoch.
        """
        row = (name, user_id, node_id, login, json.dumps(keys), asked_at)

        def put(db: Connection) -> None:
            db.execute(
                "INSERT INTO logins (name, user_id, node_id, login, keys, asked_at) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "user_id = excluded.user_id, node_id = excluded.node_id, login = excluded.login, "
                "keys = excluded.keys, asked_at = excluded.asked_at "
                # A time in the future was stored while some clock was wrong.
                "WHERE excluded.asked_at >= logins.asked_at OR logins.asked_at > ?",
                (*row, self._engine.database.now(db)),
            )
            db.execute(
                "DELETE FROM logins WHERE asked_at < "
                "(SELECT asked_at FROM logins ORDER BY asked_at DESC LIMIT 1 OFFSET ?)",
                (MAX_LOGINS - 1,),
            )

        await self._engine.write(put, wait=False)

    async def remove(self, name: str, *, asked_at: float) -> None:
        """Record that nobody has a login. Changes nothing if the login isn't stored.

        The row stays, so that another node can't restore an older answer. Raises StoreFull, StoreLocked or
        StoreUnreachable at once.
        """

        def remove(db: Connection) -> None:
            db.execute(
                "UPDATE logins SET user_id = ?, node_id = '', login = name, keys = '[]', asked_at = ? "
                "WHERE name = ? AND (asked_at <= ? OR asked_at > ?)",
                (NOBODY, asked_at, name, asked_at, self._engine.database.now(db)),
            )

        await self._engine.write(remove, wait=False)

    async def get(self, name: str) -> LoginRecord | None:
        """Return GitHub's last answer about a login, or None. Its user is NOBODY if nobody has the login.

        Raises StoreUnreachable at once.
        """
        with reads_fail_fast():
            row = await self._get(name)
        return (
            None if row is None else LoginRecord(**{**row, "keys": tuple(json.loads(row["keys"]))})
        )

    @reads
    def _get(self, db: Connection, name: str) -> ResultRow | None:
        row: ResultRow | None = db.execute(
            "SELECT user_id, node_id, login, keys, asked_at FROM logins WHERE name = ?", (name,)
        ).fetchone()
        return row


class Repositories(Subject):
    """Repositories, and whether they are public."""

    @writes
    def put(self, db: Connection, repository: RepositoryRecord) -> None:
        """Store the current name, installation and visibility of a repository.

        All its runs, including old ones, become public or private with it, like logs on GitHub.
        """
        db.execute(
            "INSERT INTO repositories (id, full_name, installation_id, public, used_at) "
            "VALUES (:id, :full_name, :installation_id, :public, 0) "
            "ON CONFLICT (id) DO UPDATE SET full_name = excluded.full_name, "
            "installation_id = excluded.installation_id, public = excluded.public",
            {
                "id": repository.id,
                "full_name": repository.full_name,
                "installation_id": repository.installation_id,
                "public": int(repository.public),
            },
        )
        db.execute(
            "UPDATE runs SET public = :public, version = version + 1 "
            "WHERE repository_id = :id AND public != :public",
            {"id": repository.id, "public": int(repository.public)},
        )

    @reads
    def get(self, db: Connection, repository_id: int) -> RepositoryRecord | None:
        """Return a repository, or None."""
        row = db.execute(
            "SELECT id, full_name, installation_id, public FROM repositories WHERE id = ?",
            (repository_id,),
        ).fetchone()
        return None if row is None else _repository(row)

    @reads
    def private(self, db: Connection, limit: int) -> list[int]:
        """Return the ids of private repositories that have runs, most recently used first."""
        rows = db.execute(
            "SELECT id FROM repositories WHERE public = 0 AND used_at > 0 "
            "ORDER BY used_at DESC, id LIMIT ?",
            (limit,),
        )
        return [row["id"] for row in rows]

    @reads
    def public(self, db: Connection, limit: int) -> list[RepositoryRecord]:
        """Return the public repositories that have runs, most recently used first."""
        rows = db.execute(
            "SELECT id, full_name, installation_id, public FROM repositories "
            "WHERE public = 1 AND used_at > 0 ORDER BY used_at DESC, id LIMIT ?",
            (limit,),
        )
        return [_repository(row) for row in rows]


def ensure_repository(
    db: Connection, repository: RepositoryRecord, used_at: float
) -> RepositoryRecord:
    """Record that a repository is used now, and return what is stored about it.

    Doesn't change what is stored, since this information may come from a delivery that is days old.
    """
    row = db.execute(
        "INSERT INTO repositories (id, full_name, installation_id, public, used_at) "
        "VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET used_at = excluded.used_at "
        "RETURNING id, full_name, installation_id, public",
        (
            repository.id,
            repository.full_name,
            repository.installation_id,
            int(repository.public),
            used_at,
        ),
    ).fetchone()
    return _repository(row)


def _repository(row: ResultRow) -> RepositoryRecord:
    return RepositoryRecord(
        row["id"], row["full_name"], row["installation_id"], bool(row["public"])
    )


class Sessions(Subject):
    """The sessions of users who signed in. Only digests of their secrets are stored."""

    async def begin(self, secret: str, user_id: int, seconds: float) -> float:
        """Store a session of a stored user, and return when it ends, in seconds since the epoch.

        Raises StoreConflict for an unknown user.
        """
        now = time.time()
        await self._begin(secret, user_id, now, now + seconds)
        return now + seconds

    @writes
    def _begin(
        self, db: Connection, secret: str, user_id: int, now: float, expires_at: float
    ) -> None:
        db.execute("DELETE FROM sessions WHERE expires_at <= ?", (now,))
        db.execute(
            "INSERT INTO sessions (digest, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)",
            (_digest(secret), user_id, now, expires_at),
        )
        db.execute(
            "DELETE FROM sessions WHERE user_id = :user AND digest NOT IN (SELECT digest FROM sessions "
            "WHERE user_id = :user ORDER BY created_at DESC, digest LIMIT :each)",
            {"user": user_id, "each": SESSIONS_EACH},
        )

    @reads
    def get(self, db: Connection, secret: str) -> SessionRecord | None:
        """Return the session with this secret, or None if there is none or it has expired."""
        row = db.execute(
            "SELECT u.id AS user_id, u.login, s.expires_at FROM sessions s "
            "JOIN users u ON u.id = s.user_id WHERE s.digest = ? AND s.expires_at > ?",
            (_digest(secret), time.time()),
        ).fetchone()
        return None if row is None else SessionRecord(**row)

    @writes
    def end(self, db: Connection, secret: str) -> bool:
        """End the session with this secret, and return whether there was one."""
        ended = db.execute("DELETE FROM sessions WHERE digest = ?", (_digest(secret),))
        return bool(ended.rowcount)

    @writes
    def end_all(self, db: Connection, user_id: int) -> int:
        """End all sessions of a user, and return how many there were."""
        return db.execute("DELETE FROM sessions WHERE user_id = ?", (user_id,)).rowcount


def _digest(secret: str) -> str:
    """Return a secret's digest. It is stored in place of the secret, so that a leaked database opens no session."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
