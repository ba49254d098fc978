"""PostgreSQL: the store's database on a server, in the first schema of the connection's search path.

A transaction that writes holds an advisory lock, which replaces SQLite's write lock. A daemon has a lease instead
of a file lock (`liveness`), and each of its write transactions first checks that it still has the lease.
"""

from __future__ import annotations

import contextlib
import functools
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote

import psycopg
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from bassloop.store.engines.postgresql_connection import (
    CHANNEL,
    JSON_EACH,
    LOCK_KEY,
    MAINTENANCE,
    MIGRATION,
    REMOVAL,
    WRITER,
    PostgreSQLConnection,
    PostgreSQLListener,
    PostgreSQLRow,
    make_rows,
    translate_schema,
)
from bassloop.store.engines.postgresql_lease import Fence, PostgreSQLLease, taken_message
from bassloop.store.errors import (
    StoreBusy,
    StoreConflict,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreTaken,
    StoreUnreachable,
    StoreUnusable,
)
from bassloop.store.nodes import any_alive
from bassloop.store.schema import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bassloop.store.database import Connection, DanglingRow
    from bassloop.store.liveness import Node

OLDEST_SERVER = 140_000
"""The oldest supported version, in the server's numbering."""

LOCK_SECONDS = 8.0
"""How long a transaction waits for one of another process, such as another node."""

IDLE_SECONDS = 3.0
"""How long a transaction may be idle before the server ends it. A node that is paused during a transaction must not
block the others for longer than they wait."""

COMMIT_SECONDS = 30.0
"""How long to try to find out whether a commit succeeded during which the connection was lost."""

RECONNECT_SECONDS = 0.5

_DEFAULTS = {
    "connect_timeout": "10",
    "application_name": "bassloop",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""Connection parameters, unless the address overrides them. A dead server is detected within 30 s."""

_BEGIN = (
    "BEGIN; SET LOCAL lock_timeout = {lock:.0f}; "
    "SET LOCAL idle_in_transaction_session_timeout = {idle:.0f}; "
    f"SELECT pg_advisory_xact_lock({LOCK_KEY}, {WRITER}); "
    "SELECT pg_current_xact_id()::text, EXISTS "
    "(SELECT 1 FROM nodes WHERE id = '{node}' AND ended_at IS NULL)"
)

_ROWS_AT_ONCE = 100

_REFUSED = re.compile(
    "password authentication failed|no password supplied|does not exist|no pg_hba.conf entry"
    "|authentication failed|is not permitted to log in|permission denied"
)
"""Messages of servers that refuse a connection permanently. libpq doesn't pass on the error's code in that case."""

T = TypeVar("T")


@dataclass(frozen=True)
class PostgreSQLDatabase:
    """A database on a server.

    Args:
        url: `postgresql://USER:PASSWORD@HOST/NAME`, or another form that libpq accepts.
        pool_url: the same database through a pooler, for a daemon's reads and writes. The pooler may use another
            server connection for each transaction.
    """

    url: str = field(repr=False)
    pool_url: str | None = field(default=None, repr=False)
    errors: type[Exception] = psycopg.Error
    _fence: Fence = field(default_factory=Fence, repr=False)

    @functools.cached_property
    def _parameters(self) -> dict[str, Any]:
        return _parse(self.url, "DATABASE_URL")

    def __str__(self) -> str:
        """Return the address without its password."""
        known = self._parameters
        user = f"{quote(str(known['user']), safe='')}@" if known.get("user") else ""
        host = quote(str(known.get("host") or ""), safe="/.:[],")
        port = f":{known['port']}" if known.get("port") else ""
        return f"postgresql://{user}{host}{port}/{known.get('dbname') or ''}"

    def translate(self, error: Exception) -> StoreError:
        """Return the StoreError for one of psycopg's errors."""
        state = getattr(error, "sqlstate", None) or ""
        text = str(error).strip().partition("\n")[0]
        if state == "53100":
            return StoreFull(f"database {self}: the server's disk is full ({text}): make room")
        if state.startswith("23"):
            return StoreConflict(f"database {self} refuses the change: {text}")
        if state in ("55P03", "40001", "40P01"):
            return StoreLocked(
                f"database {self} is locked by another process: end that process and try again "
                f"({text})"
            )
        if state in ("28P01", "28000", "3D000", "42501"):
            return StoreUnusable(f"database {self} can't be used ({text}): check DATABASE_URL")
        # 25P03: the server has ended a transaction that was idle, since this process was paused.
        unavailable = state.startswith(("08", "53", "57P")) or state in ("25006", "25P03")
        if unavailable or (isinstance(error, psycopg.OperationalError) and not state):
            if _REFUSED.search(text):
                return StoreUnusable(
                    f"database {self} can't be used ({_after_fatal(text)}): check DATABASE_URL"
                )
            return StoreUnreachable(
                f"database {self} can't be reached ({_after_fatal(text)}): is the server running, "
                "and does it take connections from here?"
            )
        return StoreError(f"database {self}: {text}")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise self.translate(error) from error

    def _connect(self, *, pooled: bool = False) -> PostgreSQLConnection:
        parameters = self._parameters
        if pooled and self.pool_url is not None:
            parameters = _parse(self.pool_url, "DATABASE_POOL_URL")
        connection = psycopg.connect(
            make_conninfo(**parameters),
            autocommit=True,
            cursor_factory=psycopg.ClientCursor,
            row_factory=cast("Any", make_rows),
        )
        connection.prepare_threshold = None  # a pooler may use another server connection each time
        return PostgreSQLConnection(connection)

    @contextlib.contextmanager
    def opened(self) -> Iterator[PostgreSQLConnection]:
        """Open a connection. Raises StoreError for the server's errors in the body."""
        with self._errors(), contextlib.closing(self._connect()) as connection:
            yield connection

    @contextlib.contextmanager
    def inspect(self) -> Iterator[PostgreSQLConnection]:
        with self.opened() as connection:
            if "bassloop_migrations" not in _tables(connection):
                raise StoreUnusable(f"database {self} isn't bassloop's: check DATABASE_URL")
            connection.execute("SET default_transaction_read_only = on")
            yield connection

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[PostgreSQLConnection]:
        with self.inspect() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            yield connection

    def exists(self) -> bool:
        with self.opened() as connection:
            return "bassloop_migrations" in _tables(connection)

    def prepare(self) -> None:
        with self.opened() as connection:
            version = connection.driver.info.server_version
            if version < OLDEST_SERVER:
                raise StoreUnusable(
                    f"database {self}: PostgreSQL {version // 10_000} is too old: version "
                    f"{OLDEST_SERVER // 10_000} or newer is needed"
                )
            encoding = connection.driver.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise StoreUnusable(
                    f"database {self} has the encoding {encoding}: create one with CREATE DATABASE … "
                    "ENCODING 'UTF8' TEMPLATE template0, and name it in DATABASE_URL"
                )
            (schema,) = connection.execute("SELECT current_schema()").fetchone() or (None,)
            if schema is None:
                raise StoreUnusable(
                    f"database {self} has no schema for the tables: create the schema that "
                    "DATABASE_URL's search_path names"
                )
            with connection.driver.transaction():
                connection.execute(f"SELECT pg_advisory_xact_lock({LOCK_KEY}, {MIGRATION})")
                self._migrate(connection)

    def _migrate(self, connection: PostgreSQLConnection) -> None:
        tables = _tables(connection)
        if tables and "bassloop_migrations" not in tables:
            raise StoreUnusable(
                f"database {self} belongs to another program and is left as it is: point "
                "DATABASE_URL at an empty database or schema"
            )
        if not tables:
            connection.execute(
                "CREATE TABLE bassloop_migrations (name TEXT PRIMARY KEY, "
                "applied_at DOUBLE PRECISION NOT NULL)"
            )
            connection.execute(JSON_EACH)
        rows = connection.execute("SELECT name FROM bassloop_migrations").fetchall()
        applied = {row["name"] for row in rows}
        if newer := applied - {name for name, _ in MIGRATIONS}:
            raise StoreUnusable(
                f"database {self} was made by a newer bassloop (it has "
                f"{', '.join(sorted(newer))}): upgrade this one, or point DATABASE_URL at another "
                "database"
            )
        for name, statements in MIGRATIONS:
            if name not in applied:
                for statement in translate_schema(statements):
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO bassloop_migrations VALUES (?, ?)", (name, time.time())
                )

    @contextlib.contextmanager
    def ownership(self) -> Iterator[None]:
        """Use the database exclusively, for example to repair it.

        Raises StoreUnusable while a daemon, or another process with exclusive use, is running.
        """
        self.prepare()
        with self.opened() as connection:
            lock = f"SELECT pg_try_advisory_lock({LOCK_KEY}, {MAINTENANCE})"
            (locked,) = connection.execute(lock).fetchone() or (False,)
            if not locked or any_alive(connection, self.now(connection)):
                raise StoreUnusable(
                    f"database {self} is locked: another bassloop serves it; end that one, or point "
                    "DATABASE_URL at another database"
                )
            yield

    @contextlib.contextmanager
    def maintenance_lock(self) -> Iterator[None]:
        with self.opened() as connection:
            lock = f"SELECT pg_try_advisory_lock({LOCK_KEY}, {REMOVAL})"
            (locked,) = connection.execute(lock).fetchone() or (False,)
            if not locked:
                raise StoreBusy(
                    f"database {self}: a prune, backup, restore or check is under way on another node"
                )
            yield

    def lease(self, node: Node, identity: str) -> PostgreSQLLease:
        return PostgreSQLLease(self, self._connect_directly, node, identity, self._fence)

    def is_served(self) -> bool:
        with self.opened() as connection:
            if "nodes" not in _tables(connection):
                return False
            return any_alive(connection, self.now(connection))

    def now(self, connection: Connection) -> float:
        query = "SELECT extract(epoch FROM clock_timestamp())::float8"
        return float(connection.execute(query).fetchone()[0])

    def _connect_directly(self) -> PostgreSQLConnection:
        with self._errors():
            return self._connect()

    def connect(self) -> PostgreSQLConnection:
        with self._errors():
            return self._connect(pooled=True)

    def connect_reader(self) -> PostgreSQLConnection:
        with self._errors():
            connection = self._connect(pooled=True)
            if self.pool_url is not None:
                return connection  # a setting would affect the next client
            try:
                connection.execute(
                    "SET default_transaction_read_only = on; "
                    "SET default_transaction_isolation = 'repeatable read'"
                )
            except BaseException:
                connection.close()
                raise
            return connection

    def begin(self, connection: Connection) -> None:
        ours = _ours(connection)
        node = self._fence.node
        cursor = ours.execute(
            _BEGIN.format(lock=LOCK_SECONDS * 1000, idle=IDLE_SECONDS * 1000, node=node)
        )
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        assert row is not None, "there is a transaction"
        ours.transaction, is_live = row
        if node and not is_live:
            ours.execute("ROLLBACK")
            raise StoreTaken(taken_message(self))

    def commit(self, connection: Connection) -> None:
        """Commit the transaction.

        If the connection is lost before the server answers, opens another one to find out whether the
        transaction was committed.
        """
        ours = _ours(connection)
        try:
            ours.execute("COMMIT")
        except psycopg.OperationalError:
            if not self.is_lost(connection) or not self._was_committed(ours.transaction):
                raise

    def _was_committed(self, transaction: str) -> bool:
        deadline = time.monotonic() + COMMIT_SECONDS
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                with contextlib.closing(self._connect()) as connection:
                    (status,) = connection.execute(
                        "SELECT pg_xact_status(CAST(CAST(? AS text) AS xid8))", (transaction,)
                    ).fetchone() or (None,)
                if status != "in progress":
                    return bool(status == "committed")
            if time.monotonic() > deadline:
                return False
            time.sleep(RECONNECT_SECONDS)

    def notify(self, connection: Connection, topic: str, key: str) -> None:
        connection.execute(f"SELECT pg_notify({CHANNEL}, ?)", (f"{topic} {key}",))

    async def listen(
        self,
        deliver: Callable[[str, str], None],
        deliver_gap: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        listener = PostgreSQLListener(self, self._connect_directly, deliver, deliver_gap)
        await listener.run(task_status=task_status)

    def in_transaction(self, connection: Connection) -> bool:
        return _ours(connection).driver.info.transaction_status in (
            TransactionStatus.INTRANS,
            TransactionStatus.INERROR,
        )

    def is_lost(self, connection: Connection) -> bool:
        return _ours(connection).driver.closed

    def damage(self, connection: Connection) -> list[str]:
        return []  # the server detects damaged pages when it reads them

    def dangling_rows(self, connection: Connection) -> list[DanglingRow]:
        return []  # the server enforces foreign keys

    def scan(self, connection: Connection, sql: str) -> Iterator[PostgreSQLRow]:
        connection.execute(f"DECLARE scan NO SCROLL CURSOR FOR {sql}")
        try:
            while rows := connection.execute(f"FETCH {_ROWS_AT_ONCE} FROM scan").fetchall():
                yield from rows
        finally:
            connection.execute("CLOSE scan")

    def set_sequences(self, connection: Connection) -> None:
        rows = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_schema = current_schema() AND is_identity = 'YES'"
        ).fetchall()
        for table, column in rows:
            connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column})) "
                f"FROM {table} HAVING max({column}) > 0"
            )

    def touch(self, connection: Connection) -> None:
        connection.execute("UPDATE bassloop_migrations SET applied_at = applied_at")

    def created_at(self, connection: Connection) -> float:
        query = "SELECT min(applied_at) FROM bassloop_migrations"
        return float(connection.execute(query).fetchone()[0])

    def size(self, connection: Connection) -> int:
        query = (
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
        )
        return int(connection.execute(query).fetchone()[0])


def _parse(url: str, setting: str) -> dict[str, Any]:
    """Return the connection parameters for an address. Raises StoreUnusable."""
    try:
        return {**_DEFAULTS, **conninfo_to_dict(url)}
    except psycopg.Error as error:
        raise StoreUnusable(
            f"{setting} is not the address of a PostgreSQL database, such as "
            "postgresql://user:password@host/name"
        ) from error


def _after_fatal(text: str) -> str:
    """Return the server's message, without libpq's prefix about the connection attempt."""
    return text.rpartition("FATAL:  ")[2]


def _ours(connection: Connection) -> PostgreSQLConnection:
    return cast("PostgreSQLConnection", connection)


def _tables(connection: PostgreSQLConnection) -> set[str]:
    rows = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    ).fetchall()
    return {row["tablename"] for row in rows}
