"""SQLite: the store's database in a file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import trio
from sqlite_utils import Database

from bassloop.concurrency import AutoResetEvent
from bassloop.store.database import DanglingRow
from bassloop.store.errors import StoreUnusable, sqlite_errors, translate_sqlite_error
from bassloop.store.liveness import Cluster
from bassloop.store.schema import APPLICATION_ID, migrations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bassloop.store.database import Connection
    from bassloop.store.errors import StoreError
    from bassloop.store.liveness import Node

BUSY_TIMEOUT_MS = 5000
"""How long a connection waits while another process writes, such as a command while the daemon is running."""

OLDEST_SQLITE = (3, 37, 0)
"""The first version with STRICT tables."""

SYNCHRONOUS = frozenset({"OFF", "NORMAL", "FULL", "EXTRA"})


@contextlib.contextmanager
def open_read_only(path: Path, *, at_rest: bool = False) -> Iterator[sqlite3.Connection]:
    """Open a database for reading only. It may be in use, damaged, or a backup.

    Raises StoreUnusable if there is no database of bassloop, and StoreError for SQLite's errors in the body.

    Args:
        at_rest: nobody writes to the file, so its folder needn't be writable.
    """
    if not path.is_file():
        raise StoreUnusable(
            f"there is no database {path}; are SQLITE_PATH and DATA_DIR the daemon's?"
        )
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if at_rest else ''}"
    with (
        sqlite_errors(path),
        contextlib.closing(
            sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None)
        ) as connection,
    ):
        connection.row_factory = sqlite3.Row
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            raise StoreUnusable(f"{path} is not a database of bassloop")
        yield connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    database = Database(connection)
    applied = {migration.name for migration in migrations().applied(database)}
    with contextlib.closing(sqlite3.connect(":memory:")) as empty:
        ours = {migration.name for migration in migrations().pending(Database(empty))}
    if newer := applied - ours:
        raise StoreUnusable(
            f"database {path} was made by a newer bassloop (it has {', '.join(sorted(newer))}): "
            "upgrade this one, or point SQLITE_PATH at another file"
        )
    migrations().apply(database)


def _refuse_foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000)) as connection:
        tables = {
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type='table'")
        }
        (application,) = connection.execute("PRAGMA application_id").fetchone()
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


def restore_marker(path: Path) -> Path:
    """Return the path of the file that exists while a backup is restored over a database."""
    return path.with_name(f"{path.name}.restoring")


def _make_folder(path: Path) -> None:
    """Create the folder of a database. Raises StoreUnusable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnusable(
            f"database {path} cannot be created ({error}): its directory must be writable"
        ) from error


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock that makes this process the daemon of a database.

    The lock ends with the process, even if that is killed. Raises StoreUnusable if another process has it.
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


class FileLease:
    """The lock on a database file, as a lease. A second daemon doesn't wait for it, but fails."""

    def __init__(self, database: SQLiteDatabase) -> None:
        self._database = database
        self._held = contextlib.ExitStack()
        self.node = ""
        self.drain_requested = trio.Event()
        self.others_ended = AutoResetEvent()
        self.cluster = Cluster()

    async def acquire(self, on_wait: Callable[[str], None]) -> None:
        await trio.to_thread.run_sync(self._held.enter_context, self._database.ownership())

    async def keep(self) -> None:
        await trio.sleep_forever()

    def may_write(self) -> bool:
        return True

    async def release(self) -> None:
        self._held.close()


class InProcessNotices:
    """Notifications within this process, from the writer thread to Trio's thread."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, str]] = []
        self._deliver: Callable[[str, str], None] | None = None
        self._token: trio.lowlevel.TrioToken | None = None

    def add(self, topic: str, key: str) -> None:
        """Add a notification to the writer thread's current transaction."""
        self._waiting.append((topic, key))

    def flush(self) -> None:
        """Deliver the added notifications, once the transaction is committed."""
        waiting, self._waiting = self._waiting, []
        if self._token is not None and waiting:
            self._token.run_sync_soon(self._deliver_all, waiting)

    @contextlib.contextmanager
    def delivered_to(self, deliver: Callable[[str, str], None]) -> Iterator[None]:
        """Deliver notifications to this function until the context ends."""
        self._deliver, self._token = deliver, trio.lowlevel.current_trio_token()
        try:
            yield
        finally:
            self._deliver = self._token = None

    def _deliver_all(self, notifications: list[tuple[str, str]]) -> None:
        for topic, key in notifications:
            if self._deliver is not None:
                self._deliver(topic, key)


@dataclass(frozen=True)
class SQLiteDatabase:
    """A database in a file.

    Args:
        synchronous: SQLite's setting of this name.
    """

    path: Path
    synchronous: str = "FULL"
    errors: type[Exception] = sqlite3.Error
    _notices: InProcessNotices = field(default_factory=InProcessNotices, repr=False)

    def __str__(self) -> str:
        return str(self.path)

    def translate(self, error: Exception) -> StoreError:
        return translate_sqlite_error(cast("sqlite3.Error", error), self.path)

    def exists(self) -> bool:
        return self.path.is_file()

    @contextlib.contextmanager
    def inspect(self) -> Iterator[sqlite3.Connection]:
        with open_read_only(self.path) as connection:
            yield connection

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        with open_read_only(self.path) as connection:
            connection.execute("BEGIN")
            yield connection

    def prepare(self) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreUnusable(
                f"SQLite {sqlite3.sqlite_version} is too old: version "
                f"{'.'.join(map(str, OLDEST_SQLITE))} or newer is needed"
            )
        if self.synchronous not in SYNCHRONOUS:
            raise ValueError(
                f"synchronous must be one of {sorted(SYNCHRONOUS)}, not {self.synchronous!r}"
            )
        _make_folder(self.path)
        if self.path.is_dir():
            raise StoreUnusable(f"database {self.path} is a directory: point SQLITE_PATH at a file")
        if restore_marker(self.path).exists():
            raise StoreUnusable(
                f"database {self.path}: a restore was interrupted; run `bassloop restore` again"
            )
        with sqlite_errors(self.path):
            if self.path.exists():
                _refuse_foreign(self.path)
            with contextlib.closing(self.connect()) as connection:
                _migrate(connection, self.path)
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def ownership(self) -> Iterator[None]:
        _make_folder(self.path)
        with _lock(self.path):
            yield

    def maintenance_lock(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()  # nobody on another machine uses the file

    def lease(self, node: Node, identity: str) -> FileLease:
        return FileLease(self)

    def now(self, connection: Connection) -> float:
        return time.time()

    def is_served(self) -> bool:
        try:
            with _lock(self.path):
                return False
        except StoreUnusable:
            return True

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self.synchronous}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
        except BaseException:
            connection.close()
            raise
        return connection

    def connect_reader(self) -> sqlite3.Connection:
        connection = self.connect()
        connection.execute("PRAGMA query_only = ON")
        return connection

    def begin(self, connection: Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")

    def commit(self, connection: Connection) -> None:
        connection.execute("COMMIT")
        self._notices.flush()

    def notify(self, connection: Connection, topic: str, key: str) -> None:
        self._notices.add(topic, key)

    async def listen(
        self,
        deliver: Callable[[str, str], None],
        deliver_gap: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with self._notices.delivered_to(deliver):
            task_status.started()
            await trio.sleep_forever()

    def in_transaction(self, connection: Connection) -> bool:
        return cast("sqlite3.Connection", connection).in_transaction

    def is_lost(self, connection: Connection) -> bool:
        return False

    def damage(self, connection: Connection) -> list[str]:
        problems = [row[0] for row in connection.execute("PRAGMA integrity_check(20)")]
        return [] if problems == ["ok"] else problems

    def dangling_rows(self, connection: Connection) -> list[DanglingRow]:
        found = connection.execute("PRAGMA foreign_key_check").fetchall()
        return [DanglingRow(table, number, parent) for table, number, parent, _ in found]

    def scan(self, connection: Connection, sql: str) -> Iterator[sqlite3.Row]:
        yield from connection.execute(sql)

    def set_sequences(self, connection: Connection) -> None:
        pass  # SQLite does so itself

    def touch(self, connection: Connection) -> None:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def created_at(self, connection: Connection) -> float:
        query = "SELECT min(applied_at) FROM _sqlite_migrations"
        (first,) = connection.execute(query).fetchone()
        applied = datetime.fromisoformat(first)
        return (applied if applied.tzinfo else applied.replace(tzinfo=UTC)).timestamp()

    def size(self, connection: Connection) -> int:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page,) = connection.execute("PRAGMA page_size").fetchone()
        return int(pages) * int(page)
