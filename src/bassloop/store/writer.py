"""The writer: a thread that owns the only connection that writes, and commits in batches.

A batch consists of the writes that were queued during the previous commit; there is no timer. An idle store
commits a single write at once, and a busy one does one fsync for many. If one write of a batch fails, the
batch is rolled back and applied again with a savepoint for each write, so that the others aren't affected.

A full disk, a database that another process has locked, and one that can't be reached are temporary errors.
Then a write waits and is retried, unless its caller asks for the error: a webhook, for example, is refused
at once, since GitHub can deliver it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

import structlog
import trio

from bassloop.store.errors import TEMPORARY, StoreError, StoreFull
from bassloop.telemetry.counters import Histogram

if TYPE_CHECKING:
    from bassloop.store.database import Connection, Database

T = TypeVar("T")
Change = Callable[["Connection"], T]

BATCH_LIMIT = 512
"""The maximum number of writes in one transaction."""

RETRY_SECONDS = 1.0
"""The delay before a write is retried after a temporary error."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Write:
    change: Change[Any]
    done: trio.Event = field(default_factory=trio.Event)
    abandoned: bool = False
    result: Any = None
    error: Exception | None = None


class _ChangeFailed(Exception):
    """A change raised an error, so its whole transaction has to be rolled back."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True, slots=True)
class WriterStatistics:
    """The writer's counts.

    Args:
        waiting: writes that are queued or being committed.
        batches: transactions committed since the store was opened.
        writes: writes committed since the store was opened.
        seconds: the durations of writes, from the call to the commit.
    """

    waiting: int
    batches: int
    writes: int
    seconds: Histogram


class Writer:
    """The writer thread and its queue. Run `serve` in a nursery; `close` ends it.

    Attributes:
        stuck_seconds: the total time for which writes failed for temporary reasons, without a current outage.
        write_error: the error of the latest write, while writes fail for a temporary reason.
        found_full: set once a write has found the disk full.
    """

    def __init__(self, database: Database, room: int, *, patient: bool) -> None:
        self._database = database
        self._patient = patient
        self._stuck_since: float | None = None
        self.stuck_seconds = 0.0
        self.write_error: StoreError | None = None
        self.found_full = trio.Event()
        self._connection: Connection | None = None
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
        """Run `change` in a transaction, and return its result once that is committed.

        A commit includes an fsync, unless the store was opened otherwise. Waits while too many writes
        are queued. If cancelled, either all of the change happened or none of it, and the caller can't
        know which: make changes repeatable.

        While the disk is full, or the database is locked or can't be reached, a patient writer retries until
        it succeeds or is cancelled. Without `wait`, or if the writer isn't patient, StoreFull, StoreLocked
        or StoreUnreachable is raised.
        """
        while True:
            try:
                result = await self._committed(change)
            except TEMPORARY as error:
                self.write_error = error
                if isinstance(error, StoreFull):
                    self.found_full.set()
                if self._stuck_since is None:
                    self._stuck_since = trio.current_time()
                    log.error("the store can't be written", error=str(error))
                if not (wait and self._patient):
                    raise
            else:
                if self._stuck_since is not None:
                    seconds = trio.current_time() - self._stuck_since
                    self._stuck_since, self.write_error = None, None
                    self.stuck_seconds += seconds
                    log.warning("the store can be written again", seconds=round(seconds, 1))
                return result
            await trio.sleep(RETRY_SECONDS)

    async def _committed(self, change: Change[T]) -> T:
        began = time.perf_counter()
        await self._take_room()
        try:
            if self._closed:
                raise StoreError(f"database {self._database}: the store is closed")
            write = _Write(change)
            self._queue.put(write)
            try:
                await write.done.wait()
            finally:
                write.abandoned = True
        finally:
            self._room.release()
        if write.error is not None:
            raise write.error
        self._seconds.add(time.perf_counter() - began)
        return cast("T", write.result)

    async def _take_room(self) -> None:
        """Wait for room in the queue, but let no other task run first if there is some.

        A semaphore always does. On a busy loop, each such pause delays an answer by as much as a commit.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._room.acquire_nowait()
        except trio.WouldBlock:
            await self._room.acquire()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the thread until `close`, and commit the queued writes before returning.

        Started once the connection is open; raises the errors of connecting. Cancellation doesn't end the
        thread, so that tasks can still write while they clean up. The caller must call `close`.
        """
        token = trio.lowlevel.current_trio_token()

        def run() -> None:
            self._connection = self._database.connect()
            try:
                token.run_sync_soon(task_status.started)
                self._loop(token)
            finally:
                self._disconnect()

        await trio.to_thread.run_sync(run, limiter=trio.CapacityLimiter(1))

    def close(self) -> None:
        """Refuse further writes, and let `serve` return after the queued ones."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)

    def _loop(self, token: trio.lowlevel.TrioToken) -> None:
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
            self._commit(batch)
            token.run_sync_soon(self._deliver, batch)

    def _deliver(self, batch: list[_Write]) -> None:
        self._batches += 1
        self._writes += len(batch)
        for write in batch:
            write.done.set()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _commit(self, batch: list[_Write]) -> None:
        failure = self._transact(batch, self._apply)
        if isinstance(failure, _ChangeFailed):
            failure = failure.error
            if len(batch) > 1 and not isinstance(failure, TEMPORARY):
                failure = self._transact(batch, self._apply_apart)
        if failure is not None:
            for write in batch:
                write.error = write.error or failure

    def _transact(
        self, batch: list[_Write], apply: Callable[[Connection, _Write], None]
    ) -> Exception | None:
        """Apply a batch and commit it. If that fails, roll it back and return the error."""
        database = self._database
        try:
            if self._connection is None:
                self._connection = database.connect()
            database.begin(self._connection)
            for write in batch:
                if not write.abandoned:
                    apply(self._connection, write)
            database.commit(self._connection)
        except (StoreError, _ChangeFailed) as error:
            failure: Exception = error
        except database.errors as error:
            failure = database.translate(error)
        else:
            return None
        if self._connection is not None:
            self._roll_back(self._connection)
        return failure

    def _roll_back(self, connection: Connection) -> None:
        try:
            if self._database.in_transaction(connection):
                connection.execute("ROLLBACK")
            is_lost = self._database.is_lost(connection)
        except self._database.errors:  # whatever has begun is rolled back when its connection ends
            is_lost = True
        if is_lost:
            self._disconnect()

    def _apply(self, connection: Connection, write: _Write) -> None:
        """Apply a write without a savepoint. If it fails, the whole transaction has to be rolled back."""
        try:
            write.result = write.change(connection)
        except self._database.errors as error:
            raise _ChangeFailed(self._database.translate(error)) from error
        except Exception as error:
            raise _ChangeFailed(error) from error

    def _apply_apart(self, connection: Connection, write: _Write) -> None:
        """Apply a write in a savepoint, so that its failure doesn't affect the others."""
        database = self._database
        connection.execute("SAVEPOINT change")
        try:
            write.result = write.change(connection)
        except Exception as error:
            if isinstance(error, database.errors):
                write.error = database.translate(error)
                write.error.__cause__ = error
            else:
                write.error = error
            if not database.in_transaction(connection):  # a full disk ends the whole transaction
                if isinstance(error, database.errors):
                    raise
                raise database.errors(f"the transaction was lost: {error}") from error
            connection.execute("ROLLBACK TO change")
        connection.execute("RELEASE change")
