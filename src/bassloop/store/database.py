"""The interface between the store and its database, for both engines: SQLite and PostgreSQL.

The store's SQL is written once, in the subjects, with SQLite's placeholders (`?` and `:name`). Both engines
know `ON CONFLICT`, `RETURNING`, `WITH`, `coalesce`, `CASE` and `json_each(:items)`, whose column `value` has
the items of a JSON array; ids are compared as `CAST(value AS BIGINT)`. Subqueries in FROM have a name, and
`COLLATE NOCASE` follows a comparison, or a column of an index. Truth values are read with `bool`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from bassloop.concurrency import AutoResetEvent
    from bassloop.store.errors import StoreError
    from bassloop.store.leases import Company, Node


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
    """A row that refers to one that is missing, and its number, if it has one."""

    table: str
    number: int | None
    parent: str


class DaemonLease(Protocol):
    """What makes a process the daemon of a database.

    Attributes:
        node: the id of the node whose rows are this process's; empty if no other can share the database.
        drain_requested: set when somebody asks this process to drain.
        others_ended: set when another daemon has ended, wasn't heard of in time, or drains.
        company: how many daemons there are.
    """

    node: str
    drain_requested: trio.Event
    others_ended: AutoResetEvent
    company: Company

    async def acquire(self, on_wait: Callable[[str], None]) -> None:
        """Become a daemon of the database.

        One on a server is waited for while it can't be reached, or a command has it for itself; `on_wait` is
        called with the reason now and then. Raises StoreUnusable if this process can't be a daemon.
        """

    async def keep(self) -> None:
        """Stay a daemon until cancelled. Raises StoreTaken if others have taken over."""

    def may_write(self) -> bool:
        """Return whether no other daemon can have taken over, by this process's own clock."""

    async def release(self) -> None:
        """Cease to be a daemon."""


class Database(Protocol):
    """A database of the store. `str` names it in messages, without its password.

    Methods that take a connection run in a thread, and raise `errors`, which `translate` makes the store's.
    """

    @property
    def errors(self) -> type[Exception]:
        """The base class of the errors of the engine's driver."""

    def translate(self, error: Exception) -> StoreError:
        """Return the store's error for one of the engine's."""

    def exists(self) -> bool:
        """Return whether there is a database of bassloop. Raises StoreError if it can't be asked."""

    def inspect(self) -> AbstractContextManager[Connection]:
        """Open the database for reading only, though it may be in use or damaged.

        Raises StoreUnusable if there is no database of bassloop, and StoreError for the engine's errors
        inside.
        """

    def snapshot(self) -> AbstractContextManager[Connection]:
        """Open the database as `inspect` does, and see one instant of it if others may change it."""

    def prepare(self) -> None:
        """Create the tables if they are missing, and migrate older ones.

        Raises StoreUnusable for a database of another program or of a newer version, and for one that
        can't be read or written.
        """

    def ownership(self) -> AbstractContextManager[None]:
        """Be the only one who uses this database. Raises StoreUnusable if another process does.

        It ends with the process, however that ends.
        """

    def lease(self, node: Node, identity: str) -> DaemonLease:
        """Return what makes a process the daemon of this database, once it is acquired.

        Args:
            identity: a digest of what all nodes of a loop must have in common.
        """

    def now(self, connection: Connection) -> float:
        """Return the time by the clock that all who use the database share, in seconds since the epoch."""

    def is_served(self) -> bool:
        """Return whether a daemon has this database open now."""

    def connect(self) -> Connection:
        """Return a connection for the writer."""

    def connect_reader(self) -> Connection:
        """Return a connection that the engine keeps from writing."""

    def begin(self, connection: Connection) -> None:
        """Begin a transaction that writes. There is one at a time, in all processes."""

    def commit(self, connection: Connection) -> None:
        """Commit a transaction."""

    def notify(self, connection: Connection, topic: str, key: str) -> None:
        """Notify all processes that listen, once the transaction is committed.

        They may be notified of a transaction that is rolled back, too.
        """

    async def listen(
        self,
        deliver: Callable[[str, str], None],
        deliver_gap: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen to the notifications of all processes until cancelled. Doesn't raise StoreError.

        Started once notifications arrive, or can't be expected to for now.

        Args:
            deliver: called with the topic and the key of each, in Trio's thread.
            deliver_gap: called when some may have been lost.
        """

    def in_transaction(self, connection: Connection) -> bool:
        """Return whether a transaction is open. Errors such as a full disk may have ended it."""

    def is_lost(self, connection: Connection) -> bool:
        """Return whether a connection can't be used any more."""

    def damage(self, connection: Connection) -> list[str]:
        """Return what the engine finds damaged in its own files."""

    def dangling_rows(self, connection: Connection) -> list[DanglingRow]:
        """Return the rows that refer to missing ones."""

    def scan(self, connection: Connection, sql: str) -> Iterator[Any]:
        """Yield the rows of a query without holding all of them in memory. PostgreSQL needs a transaction."""

    def set_sequences(self, connection: Connection) -> None:
        """Let new rows get numbers above all that were inserted with theirs."""

    def touch(self, connection: Connection) -> None:
        """Make a change without effect."""

    def created_at(self, connection: Connection) -> float:
        """Return the time at which the database was created, in seconds since the epoch."""

    def size(self, connection: Connection) -> int:
        """Return the size of the database in bytes."""
