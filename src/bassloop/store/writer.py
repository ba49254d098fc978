"""The one writer: a thread that owns the write connection and commits in batches.

A batch is whatever queued up during the previous commit; there is no timer. An idle store commits a
single write at once, a busy one shares each fsync among all who wait. Within a batch every write is
a savepoint of its own, so one that fails takes nobody else with it.

A full disk, and a database that somebody else keeps locked, pass. Who changes something waits for that
and tries again, unless told not to: a webhook is better refused now, for GitHub keeps what it sends.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

import structlog
import trio

from bassloop.store.errors import StoreError, StoreFull, StoreLocked, translated
from bassloop.telemetry.tally import Histogram

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")
Change = Callable[[sqlite3.Connection], T]

BATCH_LIMIT = 512
"""Writes in one transaction, at most: it bounds what one failed commit takes with it."""


RETRY_SECONDS = 1.0
"""How long a write that found no room waits before it is tried again."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Write:
    change: Change[Any]
    done: trio.Event = field(default_factory=trio.Event)
    abandoned: bool = False
    result: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class WriterStatistics:
    """`waiting` writes are queued or being committed; the others count since the store opened.

    `seconds` is how long each took, from being asked for to being committed."""

    waiting: int
    batches: int
    writes: int
    seconds: Histogram


class Writer:
    """Hands changes to the writer thread. Run `serve` in a nursery; `close` ends it."""

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], path: Path, room: int, *, patient: bool
    ) -> None:
        self._connect = connect
        self._path = path
        self._patient = patient
        self._stuck_since: float | None = None
        self.stuck_seconds = 0.0
        self._queue: SimpleQueue[_Write | None] = SimpleQueue()
        self._room = trio.Semaphore(room, max_value=room)
        self._size = room
        self._closed = False
        self._batches = 0
        self._writes = 0
        self._seconds = Histogram()

    def statistics(self) -> WriterStatistics:
        waiting = self._size - self._room.value
        return WriterStatistics(
            waiting=waiting, batches=self._batches, writes=self._writes, seconds=self._seconds
        )

    async def write(self, change: Change[T], *, wait: bool = True) -> T:
        """Carry out `change` on the write connection, in a transaction, and return what it returned
        once that transaction is committed (with fsync, unless the store was opened otherwise).

        Waits while too many writes are queued. When cancelled, the change either happened in full
        or not at all, and the caller cannot know which: make changes repeatable.

        Where the disk is full or the database locked, a patient writer tries again until it is not, or
        until cancelled; without `wait`, and for an impatient one, StoreFull or StoreLocked is raised.
        """
        while True:
            try:
                result = await self._committed(change)
            except (StoreFull, StoreLocked) as error:
                if self._stuck_since is None:
                    self._stuck_since = trio.current_time()
                    log.error("the store can't be written", error=str(error))
                if not (wait and self._patient):
                    raise
            else:
                if self._stuck_since is not None:
                    seconds = trio.current_time() - self._stuck_since
                    self._stuck_since = None
                    self.stuck_seconds += seconds
                    log.warning("the store can be written again", seconds=round(seconds, 1))
                return result
            await trio.sleep(RETRY_SECONDS)

    async def _committed(self, change: Change[T]) -> T:
        asked = time.perf_counter()
        async with self._room:
            if self._closed:
                raise StoreError(f"database {self._path}: the store is closed")
            write = _Write(change)
            self._queue.put(write)
            try:
                await write.done.wait()
            finally:
                write.abandoned = True
        if write.error is not None:
            raise write.error
        self._seconds.add(time.perf_counter() - asked)
        return cast("T", write.result)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the thread until `close`; what is queued is committed before it returns. Shielded, so
        that whoever cleans up under a cancellation can still write: who starts it, closes it.
        Started once the connection is open; raises what `connect` raises."""
        token = trio.lowlevel.current_trio_token()

        def opened() -> None:
            task_status.started()

        def run() -> None:
            connection = self._connect()
            try:
                token.run_sync_soon(opened)
                self._loop(connection, token)
            finally:
                connection.close()

        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(run, limiter=trio.CapacityLimiter(1))

    def close(self) -> None:
        """Refuse further writes, and let `serve` return after those that are queued."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)

    def _loop(self, connection: sqlite3.Connection, token: trio.lowlevel.TrioToken) -> None:
        open_ = True
        while open_:
            batch: list[_Write] = []
            first = self._queue.get()
            while first is not None:
                batch.append(first)
                if len(batch) == BATCH_LIMIT:
                    break
                try:
                    first = self._queue.get_nowait()
                except Empty:
                    break
            open_ = first is not None
            self._commit(connection, batch)
            token.run_sync_soon(self._deliver, batch)

    def _deliver(self, batch: list[_Write]) -> None:
        self._batches += 1
        self._writes += len(batch)
        for write in batch:
            write.done.set()

    def _commit(self, connection: sqlite3.Connection, batch: list[_Write]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for write in batch:
                if not write.abandoned:
                    self._apply(connection, write)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            failure = translated(error, self._path)
            for write in batch:
                write.error = write.error or failure
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _apply(self, connection: sqlite3.Connection, write: _Write) -> None:
        connection.execute("SAVEPOINT change")
        try:
            write.result = write.change(connection)
        except Exception as error:
            if isinstance(error, sqlite3.Error):
                write.error = translated(error, self._path)
                write.error.__cause__ = error
            else:
                write.error = error
            if not connection.in_transaction:  # a full disk takes the whole batch with it
                if isinstance(error, sqlite3.Error):
                    raise
                raise sqlite3.OperationalError(f"the transaction was lost: {error}") from error
            connection.execute("ROLLBACK TO change")
        connection.execute("RELEASE change")
