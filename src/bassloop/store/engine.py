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
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import trio

from bassloop.concurrency import open_flat_nursery, shielded
from bassloop.store.errors import StoreError, StoreUnreachable
from bassloop.store.writer import RETRY_SECONDS, Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from bassloop.store.database import Connection, Database
    from bassloop.store.writer import WriterStatistics

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Subject")

MAX_WAITING_WRITES = 1024
READERS = 4
MAX_PAGE = 500
CLOSE_SECONDS = 30.0
"""How long queries that still run may keep the database from being closed, in seconds."""


_fails_fast: ContextVar[bool] = ContextVar("fails_fast", default=False)


@contextmanager
def reads_fail_fast() -> Iterator[None]:
    """Let reads in this context raise StoreUnreachable at once, where a daemon's would wait.

    For what somebody waits for, such as a page. Tasks that are started in the context have it, too.
    """
    token = _fails_fast.set(True)
    try:
        yield
    finally:
        _fails_fast.reset(token)


class Engine:
    """One writer and a pool of readers of a database. Made by `open_engine`.

    Args:
        node: the id of the node that uses it; empty for the only daemon of a file, and for commands.
        may_wait: whether reads wait now while the database can't be reached.
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
        self._writer = writer
        self._readers = readers
        self._may_wait = may_wait

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Return what `query` returns for everything committed by now. See `Readers.read`.

        While the database can't be reached, a daemon's read waits until it can, unless it `reads_fail_fast`, or
        other nodes may take over.
        """
        while True:
            try:
                return await self._readers.read(query)
            except StoreUnreachable:
                if _fails_fast.get() or not self._may_wait():
                    raise
            await trio.sleep(RETRY_SECONDS)

    async def write(self, change: Callable[[Connection], T], *, wait: bool = True) -> T:
        """Return what `change` returns, once it is committed. See `Writer.write`."""
        return await self._writer.write(change, wait=wait)

    @property
    def stuck_seconds(self) -> float:
        """The seconds for which the disk was full or the database locked, until it wasn't any more."""
        return self._writer.stuck_seconds

    @property
    def trouble(self) -> StoreError | None:
        """The reason why nothing could be written lately, until something could."""
        return self._writer.trouble

    def statistics(self) -> WriterStatistics:
        return self._writer.statistics()


@asynccontextmanager
async def open_engine(
    database: Database,
    *,
    patient: bool,
    node: str = "",
    may_write: Callable[[], bool] = lambda: True,
) -> AsyncIterator[Engine]:
    """Open a database, created or migrated first.

    Leaving the context commits the writes that are queued and waits for the reads that run.

    Args:
        patient: whether writes wait for a full disk or a locked database, and reads for one that can't be
            reached.
        node: the id of the node that uses it, if there may be several.
        may_write: whether no other node can have taken over from that one.
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
    """A pool of connections that only read, so that no reader waits for the writer."""

    def __init__(self, database: Database, size: int) -> None:
        self._database = database
        self._idle: list[Connection] = []
        self._limiter = trio.CapacityLimiter(size)
        self._closed = False

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Return what `query` returns for everything committed by now; it runs in a thread.

        Waits for a connection if all are in use. If cancelled, the query ends by itself and its result is dropped.
        """

        def run() -> T:
            while self._idle:
                connection = self._idle.pop()
                try:
                    return self._query(connection, query)
                except StoreUnreachable:  # while it was idle: the others may have been lost, too
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
