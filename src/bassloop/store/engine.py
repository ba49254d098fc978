"""The engine: runs the store's SQL on the writer thread or on one of a few readers.

The SQL is in the subjects (`Deliveries`, `Runs`, ...). Each operation is a function of a connection, and
a decorator says where it runs:

    class Runs(Subject):
        @reads
        def get(self, db: Connection, run_id: str) -> Run | None:
            row = db.execute("SELECT ...", (run_id,)).fetchone()

    run = await store.runs.get(run_id)

Both decorators make an async method without the connection. An operation runs in a thread, so it uses
nothing but its arguments. Operations that share a transaction share plain functions of a connection.
"""

from __future__ import annotations

import functools
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeAlias, TypeVar

import trio

from bassloop.concurrency import open_flat_nursery, shielded
from bassloop.store import database
from bassloop.store.errors import sqlite_errors
from bassloop.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from bassloop.store.writer import WriterStatistics

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Subject")

Connection: TypeAlias = sqlite3.Connection
Row: TypeAlias = sqlite3.Row

MAX_WAITING_WRITES = 1024
READERS = 4
MAX_PAGE = 500
CLOSE_SECONDS = 30.0
"""How long queries that still run may keep the database from being closed."""


class Engine:
    """One writer and a pool of readers of a database. Made by `open_engine`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Return what `query` returns for everything committed by now. See `Readers.read`."""
        return await self._readers.read(query)

    async def write(self, change: Callable[[Connection], T], *, wait: bool = True) -> T:
        """Return what `change` returns, once it is committed. See `Writer.write`."""
        return await self._writer.write(change, wait=wait)

    @property
    def stuck_seconds(self) -> float:
        """The seconds for which the disk was full or the database locked, until it wasn't any more."""
        return self._writer.stuck_seconds

    def statistics(self) -> WriterStatistics:
        return self._writer.statistics()


@asynccontextmanager
async def open_engine(path: Path, synchronous: str, *, patient: bool) -> AsyncIterator[Engine]:
    """Open the database in `path`, created or migrated first.

    Leaving the context commits the writes that are queued and waits for the reads that run.

    Args:
        synchronous: SQLite's setting of this name.
        patient: whether writes wait for a full disk or a locked database.
    """
    await trio.to_thread.run_sync(database.prepare, path, synchronous)
    writer = Writer(
        functools.partial(database.connect, path, synchronous),
        path,
        MAX_WAITING_WRITES,
        patient=patient,
    )
    readers = Readers(functools.partial(database.connect_reader, path, synchronous), path, READERS)
    async with open_flat_nursery() as nursery:
        await nursery.start(writer.serve)
        try:
            yield Engine(writer, readers)
        finally:
            writer.close()
            await readers.close()


class Readers:
    """A pool of connections that only read, so that no reader waits for the writer (WAL)."""

    def __init__(self, connect: Callable[[], Connection], path: Path, size: int) -> None:
        self._connect = connect
        self._path = path
        self._idle: list[Connection] = []
        self._limiter = trio.CapacityLimiter(size)
        self._closed = False

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Return what `query` returns for everything committed by now; it runs in a thread.

        Waits for a connection if all are in use. When cancelled, the query ends by itself and its
        result is dropped.
        """

        def run() -> T:
            connection = self._idle.pop() if self._idle else self._connect()
            try:
                with sqlite_errors(self._path):
                    return query(connection)
            finally:
                if self._closed:
                    connection.close()
                else:
                    self._idle.append(connection)

        return await trio.to_thread.run_sync(run, limiter=self._limiter, abandon_on_cancel=True)

    async def close(self) -> None:
        """Close all connections, after the queries that still run.

        A query that takes longer than CLOSE_SECONDS isn't waited for: its thread closes its connection.
        """
        with shielded(CLOSE_SECONDS):
            for _ in range(int(self._limiter.total_tokens)):
                await self._limiter.acquire_on_behalf_of(object())
        self._closed = True
        while self._idle:
            self._idle.pop().close()


class Subject:
    """The operations on one kind of thing in the store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine


def reads(
    query: Callable[Concatenate[S, Connection, P], T],
) -> Callable[Concatenate[S, P], Coroutine[object, object, T]]:
    """Make a method that queries a connection an async one that runs on a reader."""

    @functools.wraps(query)
    async def read(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._engine.read(lambda db: query(self, db, *args, **kwargs))

    return read


def writes(
    change: Callable[Concatenate[S, Connection, P], T],
) -> Callable[Concatenate[S, P], Coroutine[object, object, T]]:
    """Make a method that changes rows an async one that runs on the writer thread.

    It is one transaction, together with the others of its batch, and waits for a full disk.
    """

    @functools.wraps(change)
    async def write(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        def bound(db: Connection) -> T:
            return change(self, db, *args, **kwargs)

        bound.__qualname__ = change.__qualname__  # says which operation it is, as in `Runs.start`
        return await self._engine.write(bound)

    return write


def page_size(limit: int) -> int:
    """Return how many items a list may have for which `limit` were requested."""
    return max(1, min(limit, MAX_PAGE))
