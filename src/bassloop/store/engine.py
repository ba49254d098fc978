"""The engine: runs the store's SQL in the writer thread, or on one of a few reader connections.

The SQL is in the subjects (`Deliveries`, `Runs`, ...). Each operation takes a connection, and a decorator
says where it runs:

    class Runs(Subject):
        @reads
        def get(self, db: Connection, run_id: str) -> Run | None:
            row = db.execute("SELECT ...", (run_id,)).fetchone()

    run = await store.runs.get(run_id)

Both decorators turn it into an async method that doesn't take the connection. Operations run in threads,
so they must use nothing but their arguments. Operations that do the same within a transaction share a
plain function that takes a connection.
"""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import trio

from bassloop.concurrency import open_flat_nursery, shielded
from bassloop.store.errors import StoreUnreachable
from bassloop.store.writer import RETRY_SECONDS, Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from bassloop.store.database import Connection, Database

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Subject")

MAX_WAITING_WRITES = 1024
READERS = 4
MAX_PAGE = 500
CLOSE_SECONDS = 30.0
"""How long closing the database waits for queries that are still running."""

_fails_fast: ContextVar[bool] = ContextVar("fails_fast", default=False)


@contextmanager
def reads_fail_fast() -> Iterator[None]:
    """Make reads in this context raise StoreUnreachable at once, even in a daemon, where they would wait.

    For work that somebody is waiting for, such as a page. Tasks started in the context inherit it.
    """
    token = _fails_fast.set(True)
    try:
        yield
    finally:
        _fails_fast.reset(token)


class Engine:
    """A database's writer and its pool of readers. Made by `open_engine`.

    Args:
        node: the id of this node; empty for a command, and for a daemon with an SQLite file.
        may_wait: returns whether a read may currently wait while the database can't be reached.
    """

    def __init__(
        self,
        database: Database,
        node: str,
        writer: Writer,
        readers: Readers,
        may_wait: Callable[[], bool],
    ) -> None:
        self.database = database
        self.node = node
        self.writer = writer
        self._readers = readers
        self._may_wait = may_wait

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Return the result of `query`, which sees everything committed by now. See `Readers.read`.

        A daemon's read waits while the database can't be reached, except in the context of
        `reads_fail_fast`, or once other nodes may have taken over.
        """
        while True:
            try:
                return await self._readers.read(query)
            except StoreUnreachable:
                if _fails_fast.get() or not self._may_wait():
                    raise
            await trio.sleep(RETRY_SECONDS)

    async def write(self, change: Callable[[Connection], T], *, wait: bool = True) -> T:
        """Return the result of `change`, once it is committed. See `Writer.write`."""
        return await self.writer.write(change, wait=wait)


@asynccontextmanager
async def open_engine(
    database: Database,
    *,
    patient: bool,
    node: str = "",
    may_write: Callable[[], bool] = lambda: True,
) -> AsyncIterator[Engine]:
    """Create or migrate a database, and open it.

    Leaving the context commits the queued writes and waits for running reads.

    Args:
        patient: whether writes wait while the disk is full or the database locked, and reads while it
            can't be reached.
        node: the id of this node, if there may be several.
        may_write: returns False once another node may have taken over from this one.
    """
    await trio.to_thread.run_sync(database.prepare)
    writer = Writer(database, MAX_WAITING_WRITES, patient=patient)
    readers = Readers(database, READERS)
    async with open_flat_nursery() as nursery:
        await nursery.start(writer.serve)
        try:
            yield Engine(database, node, writer, readers, may_write if patient else lambda: False)
        finally:
            writer.close()
            await readers.close()


class Readers:
    """A pool of read-only connections, so that reads don't wait for the writer."""

    def __init__(self, database: Database, size: int) -> None:
        self._database = database
        self._idle: list[Connection] = []
        self._limiter = trio.CapacityLimiter(size)
        self._closed = False

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run `query` in a thread, and return its result. It sees everything committed by now.

        Waits for a connection if all are in use. If cancelled, abandons the query, which finishes in its
        thread.
        """

        def run() -> T:
            while self._idle:
                connection = self._idle.pop()
                try:
                    return self._query(connection, query)
                except StoreUnreachable:  # lost while idle, as others may be
                    if not self._database.is_lost(connection):
                        raise
            return self._query(self._database.connect_reader(), query)

        return await trio.to_thread.run_sync(run, limiter=self._limiter, abandon_on_cancel=True)

    def _query(self, connection: Connection, query: Callable[[Connection], T]) -> T:
        try:
            return query(connection)
        except self._database.errors as error:
            raise self._database.translate(error) from error
        finally:
            if self._closed or self._database.is_lost(connection):
                connection.close()
            else:
                self._idle.append(connection)

    async def close(self) -> None:
        """Wait for running queries, and close all connections.

        After CLOSE_SECONDS it stops waiting: the threads of the remaining queries close their own
        connections.
        """
        with shielded(CLOSE_SECONDS):
            for _ in range(int(self._limiter.total_tokens)):
                await self._limiter.acquire_on_behalf_of(object())
        self._closed = True
        while self._idle:
            self._idle.pop().close()


class Subject:
    """The base class of the store's subjects: the operations on one kind of data."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine


def reads(
    query: Callable[Concatenate[S, Connection, P], T],
) -> Callable[Concatenate[S, P], Coroutine[object, object, T]]:
    """Turn a method that queries a connection into an async one that runs on a reader."""

    @functools.wraps(query)
    async def read(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._engine.read(lambda db: query(self, db, *args, **kwargs))

    return read


def writes(
    change: Callable[Concatenate[S, Connection, P], T],
) -> Callable[Concatenate[S, P], Coroutine[object, object, T]]:
    """Turn a method that changes rows into an async one that runs in the writer thread.

    A call is atomic, though it shares its transaction with the other writes of its batch. A daemon's call
    waits while the disk is full.
    """

    @functools.wraps(change)
    async def write(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        def bound(db: Connection) -> T:
            return change(self, db, *args, **kwargs)

        bound.__qualname__ = change.__qualname__  # names the operation, such as `Runs.start`
        return await self._engine.write(bound)

    return write


def page_size(limit: int) -> int:
    """Return the requested `limit` of a list, restricted to between 1 and MAX_PAGE."""
    return max(1, min(limit, MAX_PAGE))
