"""The interface between the store and its database, for both engines: SQLite and PostgreSQL.

The store's SQL is written once, in the subjects, with SQLite's placeholders (`?` and `:name`). It may use
`ON CONFLICT`, `RETURNING`, `WITH`, `coalesce`, `CASE` and `json_each(:items)`, whose column `value` has the
items of a JSON array as text; cast them to compare them with ids (`CAST(value AS BIGINT)`). Name each subquery
in FROM. Write `COLLATE NOCASE` only after a comparison, or after a column of an index. Read booleans with `bool`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from bassloop.concurrency import AutoResetEvent
    from bassloop.store.errors import StoreError
    from bassloop.store.liveness import Cluster, Node


class ResultRow(Protocol):
    """A row of a result, by the names of its columns or by their positions."""

    def __getitem__(self, key: Any, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...

    def keys(self) -> list[str]: ...


class QueryResult(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int: ...

    @property
    def description(self) -> Any: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A connection in autocommit mode, for any thread, one at a time."""

    def execute(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ..., /
    ) -> QueryResult: ...

    def executemany(
        self, sql: str, parameters: Iterable[Sequence[Any] | Mapping[str, Any]], /
    ) -> object: ...

    def close(self) -> None: ...


class DanglingRow(NamedTuple):
    """A row with a foreign key to a missing row of `parent`, and its rowid, if it has one."""

    table: str
    number: int | None
    parent: str


class DaemonLease(Protocol):
    """A lease, which makes a process a daemon of the database.

    Attributes:
        node: the id of this process as a node; empty if only one daemon can use the database.
        drain_requested: set when somebody asks this process to drain.
        others_ended: set when another daemon has ended, drains, or hasn't renewed its lease in time.
        cluster: how many daemons there are.
    """

    node: str
    drain_requested: trio.Event
    others_ended: AutoResetEvent
    cluster: Cluster

    async def acquire(self, on_wait: Callable[[str], None]) -> None:
        """Become a daemon of the database. Raises StoreUnusable if that is impossible.

        Waits while a database server can't be reached, or while a command uses the database exclusively, and
        calls `on_wait` with the reason every few seconds.
        """

    async def keep(self) -> None:
        """Renew the lease until cancelled. Raises StoreTaken if others have taken over."""

    def may_write(self) -> bool:
        """Return False once, by this process's own clock, another daemon may have taken over."""

    async def release(self) -> None:
        """Give up the lease."""


class Database(Protocol):
    """A database for the store. `str` returns its name for messages, without a password.

    Methods that take a connection must run in a thread. They raise the driver's `errors`, which `translate`
    translates to StoreError.
    """

    @property
    def errors(self) -> type[Exception]:
        """The base class of the driver's errors."""

    def translate(self, error: Exception) -> StoreError:
        """Return the StoreError for one of the driver's errors."""

    def exists(self) -> bool:
        """Return whether bassloop's database exists. Raises StoreError if that can't be determined."""

    def inspect(self) -> AbstractContextManager[Connection]:
        """Open the database for reading only. It may be in use, or damaged.

        Raises StoreUnusable if there is no database of bassloop, and StoreError for the driver's errors in the
        body.
        """

    def snapshot(self) -> AbstractContextManager[Connection]:
        """Open the database as `inspect` does, in a transaction that sees a consistent snapshot."""

    def prepare(self) -> None:
        """Create the tables if they are missing, and migrate older ones.

        Raises StoreUnusable for a database of another program or of a newer version, and for one that
        can't be read or written.
        """

    def ownership(self) -> AbstractContextManager[None]:
        """Use the database exclusively. Raises StoreUnusable if another process uses it.

        The lock ends with the process, even if that is killed.
        """

    def maintenance_lock(self) -> AbstractContextManager[None]:
        """Keep processes on other machines from removing logs. Raises StoreBusy if one of them holds the lock."""

    def lease(self, node: Node, identity: str) -> DaemonLease:
        """Return a lease, which makes this process a daemon of the database once it is acquired.

        Args:
            identity: a digest of the settings that all nodes of a loop must have in common.
        """

    def now(self, connection: Connection) -> float:
        """Return the time by the clock that all nodes share, in seconds since the epoch."""

    def is_served(self) -> bool:
        """Return whether a daemon is using this database now."""

    def connect(self) -> Connection:
        """Return a connection for the writer."""

    def connect_reader(self) -> Connection:
        """Return a read-only connection."""

    def begin(self, connection: Connection) -> None:
        """Begin a transaction that writes. Only one at a time is possible, across all processes."""

    def commit(self, connection: Connection) -> None:
        """Commit the transaction."""

    def notify(self, connection: Connection, topic: str, key: str) -> None:
        """Notify all processes that listen, once the transaction is committed.

        They may also be notified if it is rolled back.
        """

    async def listen(
        self,
        deliver: Callable[[str, str], None],
        deliver_gap: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen to the notifications of all processes until cancelled. Doesn't raise StoreError.

        Started once notifications arrive, or the first attempt to connect has failed.

        Args:
            deliver: called with the topic and the key of each notification, in Trio's thread.
            deliver_gap: called when notifications may have been lost.
        """

    def in_transaction(self, connection: Connection) -> bool:
        """Return whether a transaction is open. An error such as a full disk may have ended it."""

    def is_lost(self, connection: Connection) -> bool:
        """Return whether the connection is no longer usable."""

    def damage(self, connection: Connection) -> list[str]:
        """Return the damage that the engine finds in its own files."""

    def dangling_rows(self, connection: Connection) -> list[DanglingRow]:
        """Return the rows that violate a foreign key."""

    def scan(self, connection: Connection, sql: str) -> Iterator[Any]:
        """Yield the rows of a query without loading all of them at once. PostgreSQL needs a transaction."""

    def set_sequences(self, connection: Connection) -> None:
        """Advance all sequences past the ids of rows that were inserted with explicit ids."""

    def touch(self, connection: Connection) -> None:
        """Write something that changes nothing."""

    def created_at(self, connection: Connection) -> float:
        """Return when the database was created, in seconds since the epoch."""

    def size(self, connection: Connection) -> int:
        """Return the size of the database in bytes."""
