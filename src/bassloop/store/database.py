"""Opening the database file: what is refused and why, and how every connection is set up."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlite_utils import Database

from bassloop.store.errors import StoreUnusable, translated
from bassloop.store.schema import APPLICATION_ID, migrations

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_TIMEOUT_MS = 5000
"""How long a connection waits for another process that is writing, such as a command of the
operator beside the daemon."""

OLDEST_SQLITE = (3, 37, 0)
"""The first with STRICT tables."""

SYNCHRONOUS = frozenset({"OFF", "NORMAL", "FULL", "EXTRA"})


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
    """A connection in autocommit mode. May be used from any thread, by one at a time."""
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False
    )
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, synchronous: str) -> sqlite3.Connection:
    """A connection that SQLite keeps from writing."""
    connection = connect(path, synchronous)
    connection.execute("PRAGMA query_only = ON")
    return connection


def prepare(path: Path, synchronous: str) -> None:
    """Make the database if it is missing, and bring an older one up to date.

    Raises `StoreUnusable` for what is not a database of this program, what a newer version made,
    and what cannot be read or written.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreUnusable(
            f"SQLite {sqlite3.sqlite_version} is too old: version "
            f"{'.'.join(map(str, OLDEST_SQLITE))} or newer is needed"
        )
    if synchronous not in SYNCHRONOUS:
        raise ValueError(f"synchronous must be one of {sorted(SYNCHRONOUS)}, not {synchronous!r}")
    if path.is_dir():
        raise StoreUnusable(f"database {path} is a directory: point SQLITE_PATH at a file")
    if restoring(path).exists():
        raise StoreUnusable(
            f"database {path}: a restore was interrupted; run `bassloop restore` again"
        )
    if path.exists():
        _refuse_foreign(path)
    try:
        with contextlib.closing(connect(path, synchronous)) as connection:
            database = Database(connection)
            applied = {migration.name for migration in migrations().applied(database)}
            newer = applied - _names()
            if newer:
                raise StoreUnusable(
                    f"database {path} was made by a newer bassloop (it has "
                    f"{', '.join(sorted(newer))}): upgrade this one, or point SQLITE_PATH at "
                    "another file"
                )
            migrations().apply(database)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise translated(error, path) from error


def restoring(path: Path) -> Path:
    """The file that is there while a backup is put back in the database's place."""
    return path.with_name(f"{path.name}.restoring")


def born(connection: sqlite3.Connection) -> float:
    """When the first migration was applied, in seconds since the epoch."""
    (first,) = connection.execute("SELECT min(applied_at) FROM _sqlite_migrations").fetchone()
    applied = datetime.fromisoformat(first)
    return (applied if applied.tzinfo else applied.replace(tzinfo=UTC)).timestamp()


def make_directory(path: Path) -> None:
    """Make the directory of the database. Raises `StoreUnusable`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnusable(
            f"database {path} cannot be made ({error}): its directory must be writable"
        ) from error


@contextlib.contextmanager
def ownership(path: Path) -> Iterator[None]:
    """Hold the lock that says which process is the daemon of this database.

    The lock ends with the process, however it ends. Raises `StoreUnusable` if another has it.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnusable(
            f"database {path} cannot be locked ({error}): its directory must be writable"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreUnusable(
                f"database {path} is locked: another bassloop serves it; end that one, or point "
                "SQLITE_PATH at another file"
            ) from None
        yield
    finally:
        os.close(descriptor)


def is_served(path: Path) -> bool:
    """Whether a daemon has the database of this file open now."""
    try:
        with ownership(path):
            return False
    except StoreUnusable:
        return True


def _names() -> frozenset[str]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        return frozenset(m.name for m in migrations().pending(Database(connection)))


def _refuse_foreign(path: Path) -> None:
    try:
        with contextlib.closing(
            sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000)
        ) as connection:
            tables = {
                name
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_schema WHERE type='table'"
                )
            }
            (application,) = connection.execute("PRAGMA application_id").fetchone()
    except sqlite3.Error as error:
        raise translated(error, path) from error
    if not tables or application == APPLICATION_ID:
        return
    if "schema_migrations" in tables and "vertexes" in tables:
        raise StoreUnusable(
            f"database {path} belongs to the original Bass Loop (the Go program) and is left as it "
            "is: point SQLITE_PATH at a new file"
        )
    raise StoreUnusable(
        f"database {path} belongs to another program and is left as it is: point SQLITE_PATH at a "
        "new file"
    )
