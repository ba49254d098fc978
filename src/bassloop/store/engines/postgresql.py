"""PostgreSQL: the store's database on a server, in the first schema of the connection's search path.

A daemon's ownership and the one transaction that writes are advisory locks, as the lock file and SQLite's
write lock are. The writer's own connection holds the ownership, so a daemon that has lost it can't write.
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
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from bassloop.store.engines.postgresql_sql import JSON_EACH, translate_schema, translate_sql
from bassloop.store.errors import (
    StoreConflict,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreUnreachable,
    StoreUnusable,
)
from bassloop.store.schema import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from bassloop.store.database import Connection, DanglingRow

OLDEST_SERVER = 140_000
"""The first version that is tested for, as the server numbers them."""

LOCK_SECONDS = 5.0
"""How long a transaction waits for another process that writes, such as a command beside the daemon."""

COMMIT_SECONDS = 30.0
"""How long the server is asked what became of a commit during which the connection was lost."""

RECONNECT_SECONDS = 0.5

_DEFAULTS = {
    "connect_timeout": "10",
    "application_name": "bassloop",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""Parameters of connections, unless the address has others: a server that is gone is noticed in 30 s."""

_OWNER, _WRITER, _MIGRATION = 1, 2, 3
"""The second keys of advisory locks; the first is the schema's."""

_KEY = "hashtext('bassloop ' || current_schema())"

_BEGIN = (
    "BEGIN; SET LOCAL lock_timeout = {milliseconds:.0f}; "
    f"SELECT pg_advisory_xact_lock({_KEY}, {_WRITER}); SELECT pg_current_xact_id()::text"
)

_STATEMENTS_AT_ONCE = 200
_ROWS_AT_ONCE = 100

_REFUSED = re.compile(
    "password authentication failed|no password supplied|does not exist|no pg_hba.conf entry"
    "|authentication failed|is not permitted to log in|permission denied"
)
"""What a server says when it refuses a connection for good. It sends no code then that libpq passes on."""

T = TypeVar("T")


class PostgreSQLRow:
    """A row of a result, by the names of its columns or by their positions."""

    __slots__ = ("_positions", "_values")

    def __init__(self, values: Sequence[Any], positions: dict[str, int]) -> None:
        self._values = values
        self._positions = positions

    def __getitem__(self, key: Any) -> Any:
        return self._values[self._positions[key] if isinstance(key, str) else key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> list[str]:
        return list(self._positions)


def _rows(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], PostgreSQLRow]:
    positions = {column.name: position for position, column in enumerate(cursor.description or ())}
    return lambda values: PostgreSQLRow(values, positions)


class PostgreSQLConnection:
    """A connection that takes the store's SQL.

    Values are put into the statements here, not on the server, which so finds their types by what they
    are compared with, as SQLite does.
    """

    def __init__(self, connection: psycopg.Connection[PostgreSQLRow]) -> None:
        self.driver = connection
        self.transaction = ""

    def execute(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), /
    ) -> psycopg.Cursor[PostgreSQLRow]:
        cursor = self.driver.cursor()
        cursor.execute(translate_sql(sql), _without_nul(parameters))
        return cursor

    def executemany(
        self, sql: str, parameters: Iterable[Sequence[Any] | Mapping[str, Any]], /
    ) -> None:
        translated = translate_sql(sql)
        cursor = psycopg.ClientCursor(self.driver)
        statements = [cursor.mogrify(translated, _without_nul(each)) for each in parameters]
        for start in range(0, len(statements), _STATEMENTS_AT_ONCE):
            together = ";".join(statements[start : start + _STATEMENTS_AT_ONCE])
            cursor.execute(together)

    def close(self) -> None:
        self.driver.close()


def _without_nul(parameters: Sequence[Any] | Mapping[str, Any]) -> Sequence[Any] | dict[str, Any]:
    """Return parameters that the server takes: it has no NUL in a text."""
    if not isinstance(parameters, (list, tuple)):
        values = cast("Mapping[str, Any]", parameters)
        return {name: _replace_nul(value) for name, value in values.items()}
    return [_replace_nul(value) for value in parameters]


def _replace_nul(value: Any) -> Any:
    if isinstance(value, str) and "\0" in value:
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return value


@dataclass(frozen=True)
class PostgreSQLDatabase:
    """A database on a server.

    Args:
        url: `postgresql://USER:PASSWORD@HOST/NAME`, or another form that libpq takes.
    """

    url: str = field(repr=False)
    errors: type[Exception] = psycopg.Error
    _owned: list[bool] = field(default_factory=list, repr=False)

    @functools.cached_property
    def _parameters(self) -> dict[str, Any]:
        try:
            return {**_DEFAULTS, **conninfo_to_dict(self.url)}
        except psycopg.Error as error:
            raise StoreUnusable(
                "DATABASE_URL is no address of a PostgreSQL database, such as "
                "postgresql://user:password@host/name"
            ) from error

    def __str__(self) -> str:
        """Return the address without its password."""
        known = self._parameters
        user = f"{quote(str(known['user']), safe='')}@" if known.get("user") else ""
        host = quote(str(known.get("host") or ""), safe="/.:[],")
        port = f":{known['port']}" if known.get("port") else ""
        return f"postgresql://{user}{host}{port}/{known.get('dbname') or ''}"

    def translate(self, error: Exception) -> StoreError:
        """Return the store's error for one of psycopg's."""
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
        unavailable = state.startswith(("08", "53", "57P")) or state == "25006"
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

    def _connect(self) -> PostgreSQLConnection:
        connection = psycopg.connect(
            make_conninfo(**self._parameters),
            autocommit=True,
            cursor_factory=psycopg.ClientCursor,
            row_factory=cast("Any", _rows),
        )
        connection.prepare_threshold = None  # PgBouncer may give each transaction another server
        return PostgreSQLConnection(cast("psycopg.Connection[PostgreSQLRow]", connection))

    @contextlib.contextmanager
    def opened(self) -> Iterator[PostgreSQLConnection]:
        """Open a connection for a while. Raises StoreError for the server's errors inside."""
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
            (schema,) = connection.execute("SELECT current_schema()").fetchone() or (None,)
            if schema is None:
                raise StoreUnusable(
                    f"database {self} has no schema for the tables: create the schema that "
                    "DATABASE_URL's search_path names"
                )
            with connection.driver.transaction():
                connection.execute(f"SELECT pg_advisory_xact_lock({_KEY}, {_MIGRATION})")
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
        """Be the daemon of this database, as long as the writer is connected.

        Raises StoreUnusable if another process is. Until the writer connects, a connection of its own
        holds the lock.
        """
        if self.is_served():
            raise self._served_already()
        self._owned.append(True)
        try:
            yield
        finally:
            self._owned.clear()

    def _served_already(self) -> StoreUnusable:
        return StoreUnusable(
            f"database {self} is locked: another bassloop serves it; end that one, or point "
            "DATABASE_URL at another database"
        )

    def is_served(self) -> bool:
        with self.opened() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
                f"AND classid = ({_KEY}::bigint & 4294967295)::oid AND objid = {_OWNER}"
            ).fetchone() or (0,)
            return bool(count)

    def connect(self) -> PostgreSQLConnection:
        with self._errors():
            connection = self._connect()
            try:
                if self._owned:
                    query = f"SELECT pg_try_advisory_lock({_KEY}, {_OWNER})"
                    (locked,) = connection.execute(query).fetchone() or (False,)
                    if not locked:
                        raise StoreLocked(str(self._served_already()))
            except BaseException:
                connection.close()
                raise
            return connection

    def connect_reader(self) -> PostgreSQLConnection:
        with self._errors():
            connection = self._connect()
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
        cursor = ours.execute(_BEGIN.format(milliseconds=LOCK_SECONDS * 1000))
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        assert row is not None, "a transaction has an id"
        ours.transaction = row[0]

    def commit(self, connection: Connection) -> None:
        """Commit a transaction.

        If the connection is lost before the answer comes, another one asks the server whether the
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

    def in_transaction(self, connection: Connection) -> bool:
        return _ours(connection).driver.info.transaction_status in (
            TransactionStatus.INTRANS,
            TransactionStatus.INERROR,
        )

    def is_lost(self, connection: Connection) -> bool:
        return _ours(connection).driver.closed

    def damage(self, connection: Connection) -> list[str]:
        return []  # the server finds damage when it reads a page, and keeps rows from referring to none

    def dangling_rows(self, connection: Connection) -> list[DanglingRow]:
        return []

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


def _after_fatal(text: str) -> str:
    """Return what the server said, without how the connection to it was made."""
    return text.rpartition("FATAL:  ")[2]


def _ours(connection: Connection) -> PostgreSQLConnection:
    return cast("PostgreSQLConnection", connection)


def _tables(connection: PostgreSQLConnection) -> set[str]:
    rows = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    ).fetchall()
    return {row["tablename"] for row in rows}
