"""The store as a whole: opened here, with its subjects as attributes."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.concurrency import open_flat_nursery
from bassloop.lifecycle import DeliveryState, RunState
from bassloop.store import deliveries
from bassloop.store.artifacts import Artifacts
from bassloop.store.checks import Checks
from bassloop.store.deliveries import Deliveries
from bassloop.store.engine import Subject, open_engine, reads
from bassloop.store.engines import find_database
from bassloop.store.error_lines import ErrorLines
from bassloop.store.errors import StoreError, StoreFull, is_disk_full
from bassloop.store.heads import Heads
from bassloop.store.journals import Journals
from bassloop.store.logs.log_writer import MAX_WAITING_BYTES, LogQueue
from bassloop.store.logs.logs import Logs
from bassloop.store.maintenance.prune import prune
from bassloop.store.records import Figures
from bassloop.store.runs import Runs, Thunks
from bassloop.store.runtimes import Runtimes
from bassloop.store.spending import Spending
from bassloop.store.statements import Statements
from bassloop.store.steps import Steps
from bassloop.store.tests import Tests
from bassloop.store.visitors import Logins, Repositories, Sessions, Users

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bassloop.store.database import Connection, Database
    from bassloop.store.engine import Engine
    from bassloop.store.logs.log_writer import LogWriter
    from bassloop.store.maintenance.prune import PruneReport
    from bassloop.store.maintenance.retention import Retention
    from bassloop.store.writer import WriterStatistics

LOG_LIMIT = 1024 * 1024 * 1024
"""The default for how many raw bytes of one step's log are stored."""


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """The store's counts.

    Args:
        open_logs: logs that are being written.
        log_bytes_waiting: bytes that are queued for them.
        log_bytes: raw bytes appended since the store was opened.
        stuck_seconds: for how long the disk was full or the database locked, until it wasn't any more.
    """

    writer: WriterStatistics
    open_logs: int
    log_bytes_waiting: int
    log_bytes: int
    stuck_seconds: float


@asynccontextmanager
async def open_store(
    database: Path | str,
    blobs_path: Path | str,
    *,
    synchronous: str = "FULL",
    owner: bool = True,
    log_limit: int = LOG_LIMIT,
    log_waiting: int = MAX_WAITING_BYTES,
) -> AsyncIterator[Store]:
    """Open the store in a database (a file of SQLite's) and a folder, created or migrated first.

    Leaving the context commits and writes everything that is queued. Raises StoreUnusable, which says
    why and what to do, for a database that is damaged, locked, read-only, another program's, or of a
    newer version.

    Args:
        synchronous: SQLite's setting of this name. With less than FULL, a power failure may lose
            what was committed.
        owner: whether this process is the daemon, of which there is one. The daemon starts without
            connected runtimes, repairs the logs of a predecessor that crashed, and waits for a full
            disk. Commands that use the store beside it pass False.
        log_limit: the raw bytes of one step's log that are stored.
        log_waiting: the bytes of logs that may wait to be written, before tasks that append wait.
    """
    found, blobs = find_database(database, synchronous), Path(blobs_path)
    if owner:
        with found.ownership():
            async with _open(found, blobs, log_limit, log_waiting, patient=True) as store:
                await store.runtimes.remove_all()
                await store.logs.repair()
                await store.artifacts.remove_unfinished()
                yield store
    else:
        async with _open(found, blobs, log_limit, log_waiting, patient=False) as store:
            yield store


@asynccontextmanager
async def _open(
    database: Database, blobs: Path, log_limit: int, log_waiting: int, *, patient: bool
) -> AsyncIterator[Store]:
    queue = LogQueue(blobs, log_waiting)
    async with (
        open_engine(database, patient=patient) as engine,
        open_flat_nursery() as nursery,
    ):
        await nursery.start(queue.serve)
        try:
            yield Store(engine, queue, blobs, log_limit)
        finally:
            queue.close()


class Store(Subject):
    """Everything that the loop remembers, by subject. Made by `open_store`.

    Every operation is a checkpoint, and may raise StoreError. One that writes returns once the change
    is committed, including the fsync unless the store was opened otherwise. When cancelled, the change
    happened either completely or not at all; every change may be repeated. One that reads sees
    everything committed before it began; when cancelled, it has no effect.
    """

    def __init__(self, engine: Engine, queue: LogQueue, blobs: Path, log_limit: int) -> None:
        super().__init__(engine)
        self._queue = queue
        self._blobs = blobs
        self._live: dict[int, LogWriter] = {}
        self.artifacts = Artifacts(engine, blobs)
        self.checks = Checks(engine)
        self.deliveries = Deliveries(engine)
        self.error_lines = ErrorLines(engine)
        self.heads = Heads(engine)
        self.logins = Logins(engine)
        self.repositories = Repositories(engine)
        self.runs = Runs(engine)
        self.runtimes = Runtimes(engine)
        self.sessions = Sessions(engine)
        self.spending = Spending(engine)
        self.statements = Statements(engine)
        self.steps = Steps(engine, self._live)
        self.tests = Tests(engine)
        self.thunks = Thunks(engine)
        self.users = Users(engine)
        self.journals = Journals(engine)
        self.logs = Logs(engine, self.steps, self._live, queue, blobs, log_limit)

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            writer=self._engine.statistics(),
            open_logs=len(self._live),
            log_bytes_waiting=self._queue.pending,
            log_bytes=self._queue.received,
            stuck_seconds=max(self._engine.stuck_seconds, self._queue.full_seconds),
        )

    @reads
    def created_at(self, db: Connection) -> float:
        """Return when the database was created, in seconds since the epoch."""
        return self._engine.database.created_at(db)

    @reads
    def figures(self, db: Connection) -> Figures:
        """Return how much there is, and how much of it waits. Reads indexes only."""
        unfinished = deliveries.UNFINISHED
        count = f"SELECT state, count(*) FROM deliveries WHERE {unfinished} GROUP BY state"
        oldest = (
            f"SELECT received_at FROM deliveries WHERE {unfinished} AND state = 'received' "
            "ORDER BY seq LIMIT 1"
        )
        runs = (
            "SELECT state, count(*) FROM runs WHERE state IN ('queued', 'running') GROUP BY state"
        )
        first = db.execute(oldest).fetchone()
        folder = self._blobs if self._blobs.is_dir() else self._blobs.parent
        return Figures(
            deliveries={
                DeliveryState.RECEIVED: 0,
                DeliveryState.HANDLING: 0,
                **dict(db.execute(count).fetchall()),
            },
            runs={RunState.QUEUED: 0, RunState.RUNNING: 0, **dict(db.execute(runs).fetchall())},
            oldest_waiting_at=first[0] if first else None,
            database_bytes=self._engine.database.size(db),
            free_bytes=shutil.disk_usage(folder).free,
        )

    async def probe(self) -> None:
        """Commit a change without effect, and write a byte beside the logs.

        Raises StoreError if either fails.
        """
        await self._engine.write(self._engine.database.touch, wait=False)
        await trio.to_thread.run_sync(_touch_blobs, self._blobs)

    async def prune(
        self,
        retention: Retention,
        *,
        now: float,
        steady: bool = True,
        dry_run: bool = False,
    ) -> PruneReport:
        """Remove the runs that `retention` doesn't keep. See `maintenance.prune.prune`."""
        return await prune(
            self._engine, self._blobs, retention, now=now, steady=steady, dry_run=dry_run
        )


def _touch_blobs(blobs: Path) -> None:
    try:
        blobs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=blobs) as file:
            file.write(b"\n")
    except OSError as error:
        kind = StoreFull if is_disk_full(error) else StoreError
        raise kind(f"blobs {blobs} can't be written: {error.strerror}") from error
