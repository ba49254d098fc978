"""Opens the store. `Store` has its subjects as attributes."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import trio

from bassloop.concurrency import AutoResetEvent, open_flat_nursery, shielded
from bassloop.lifecycle import DeliveryState, RunState
from bassloop.store import deliveries
from bassloop.store.artifacts import Artifacts
from bassloop.store.blobs import FileBlobs
from bassloop.store.checks import Checks, Heads
from bassloop.store.claims import Requests
from bassloop.store.deliveries import Deliveries
from bassloop.store.engine import Subject, open_engine, reads
from bassloop.store.engines import find_database
from bassloop.store.errors import StoreError, StoreFull, is_disk_full
from bassloop.store.journals import Journals
from bassloop.store.liveness import Cluster, NodeLocks
from bassloop.store.logs.log_writer import MAX_WAITING_BYTES, LogQueue
from bassloop.store.logs.logs import Logs
from bassloop.store.logs.shipper import Shipper
from bassloop.store.maintenance import Progress, ignore_progress
from bassloop.store.maintenance.prune import prune
from bassloop.store.nodes import Nodes, Runtimes, new_node
from bassloop.store.notifications import Notifications
from bassloop.store.records import Figures
from bassloop.store.runs import Runs, Statements, Thunks
from bassloop.store.search_index import ErrorLines, LogIndex
from bassloop.store.steps import Steps
from bassloop.store.test_results import Tests
from bassloop.store.usage import Spending, Usage
from bassloop.store.visitors import Logins, Repositories, Sessions, Users

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bassloop.store.blobs import Blobs
    from bassloop.store.database import Connection, Database
    from bassloop.store.engine import Engine
    from bassloop.store.liveness import Node
    from bassloop.store.logs.shipper import ShippingStatistics
    from bassloop.store.maintenance.prune import PruneReport, Retention
    from bassloop.store.steps import LiveLog
    from bassloop.store.writer import WriterStatistics

LOG_LIMIT = 1024 * 1024 * 1024
"""The default limit on the size of one step's log, in raw bytes."""

BUCKET_WAITING = 4 * 1024 * 1024 * 1024
"""The default limit on logs that are on this machine's disk but not in the bucket yet, in bytes."""

RELEASE_SECONDS = 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """The store's counts.

    Args:
        open_logs: logs that are being written.
        log_bytes_waiting: bytes that are queued for them.
        log_bytes: raw bytes appended since the store was opened.
        stuck_seconds: the total time for which nothing could be written, because the disk was full or the
            database was locked or unreachable. Doesn't include an outage that is still going on.
        shipping: the logs on their way to the bucket, if there is a bucket.
    """

    writer: WriterStatistics
    open_logs: int
    log_bytes_waiting: int
    log_bytes: int
    stuck_seconds: float
    shipping: ShippingStatistics | None


@asynccontextmanager
async def open_store(
    database: Path | str,
    blobs: Blobs | Path | str,
    *,
    synchronous: str = "FULL",
    pool: str | None = None,
    owner: bool = True,
    node: Node | None = None,
    identity: str = "",
    locks: Path | None = None,
    on_wait: Callable[[str], None] = lambda _: None,
    log_limit: int = LOG_LIMIT,
    log_waiting: int = MAX_WAITING_BYTES,
    bucket_waiting: int = BUCKET_WAITING,
) -> AsyncIterator[Store]:
    """Open the store in a database (the path of an SQLite file, or a PostgreSQL address) and its blobs.

    Creates or migrates the database first. Leaving the context commits and writes everything that is
    queued.

    Raises StoreUnusable, with the reason and the fix, for a database that is damaged, locked, read-only,
    another program's, or of a newer version. If this node doesn't renew its lease in time, other nodes
    take over its work: then the body is cancelled, and StoreTaken raised.

    Args:
        synchronous: SQLite's setting of this name. With less than FULL, a power failure may lose
            commits.
        pool: the address of a pooler in front of PostgreSQL, for reads and writes.
        owner: whether this process is a daemon: the only one that uses the file, or one of several nodes
            that share a database on a server. A daemon takes over unfinished work of one that crashed,
            repairs its logs, and waits while the disk is full. Commands pass False.
        node: identifies this process to the other nodes.
        identity: a digest of the settings that all nodes must have in common.
        locks: the folder for the lock files of nodes on this machine. If one of them was killed, this one takes over
            at once.
        on_wait: called every other second, with the reason, while the database can't be used yet.
        log_limit: the maximum size of one step's log, in raw bytes.
        log_waiting: how many bytes of logs may wait to be written before tasks that append have to wait.
        bucket_waiting: how many bytes of logs may be on this machine's disk and not in the bucket before
            tasks that append have to wait.
    """
    found = find_database(database, synchronous, pool)
    if isinstance(blobs, Path | str):
        blobs = FileBlobs(Path(blobs))
    opening = partial(_open, found, blobs, log_limit, log_waiting, bucket_waiting)
    if not owner:
        async with opening(patient=False) as store:
            yield store
        return
    lease = found.lease(node or new_node(), identity)
    node_locks = NodeLocks(locks) if locks is not None and lease.node else None
    try:
        async with _held(node_locks, lease.node), open_flat_nursery() as nursery:
            await lease.acquire(on_wait)
            nursery.start_soon(lease.keep)
            async with opening(patient=True, node=lease.node, may_write=lease.may_write) as store:
                store.drain_requested = lease.drain_requested
                store.others_ended = lease.others_ended
                store.cluster = lease.cluster
                notifications = store.notifications
                await nursery.start(found.listen, notifications.deliver, notifications.deliver_gap)
                await _take_over(store, node_locks)
                await store.logs.repair()
                await store.artifacts.remove_unfinished()
                yield store
            nursery.cancel_scope.cancel()
    finally:
        with shielded(RELEASE_SECONDS):
            await lease.release()


@asynccontextmanager
async def _held(locks: NodeLocks | None, node: str) -> AsyncIterator[None]:
    """Hold the lock of a node."""
    with ExitStack() as stack:
        if locks is not None:
            await trio.to_thread.run_sync(stack.enter_context, locks.hold(node))
        yield


async def _take_over(store: Store, locks: NodeLocks | None) -> None:
    """Take over from nodes that were killed on this machine, and from all lost ones if there is no other node.

    Otherwise, other nodes take over from lost ones sooner than a node that is only starting. But the logs of a node
    that was killed here are on this disk, so nothing of them is lost.
    """
    dead = [] if locks is None else await trio.to_thread.run_sync(locks.find_dead)
    if not dead and await store.nodes.has_others():
        return
    left = await store.nodes.take_over(dead)
    if locks is not None and dead:
        log.warning(
            "taken over from killed nodes of this data directory",
            nodes=left.nodes,
            deliveries=len(left.deliveries),
            runs=len(left.runs),
        )
        await trio.to_thread.run_sync(locks.forget, dead)


@asynccontextmanager
async def _open(
    database: Database,
    blobs: Blobs,
    log_limit: int,
    log_waiting: int,
    bucket_waiting: int,
    *,
    patient: bool,
    node: str = "",
    may_write: Callable[[], bool] = lambda: True,
) -> AsyncIterator[Store]:
    shipper = None if blobs.bucket is None else Shipper(blobs.bucket, bucket_waiting)
    queue = LogQueue(blobs.folder, log_waiting, shipper)
    async with (
        open_engine(database, patient=patient, node=node, may_write=may_write) as engine,
        open_flat_nursery() as nursery,
    ):
        await nursery.start(queue.serve)
        store = Store(engine, queue, blobs, log_limit, shipper, may_write)
        if shipper is not None:
            await nursery.start(shipper.serve, store.logs.note_shipped)
        try:
            yield store
        finally:
            queue.close()
            if shipper is not None:
                shipper.close()


class Store(Subject):
    """All persistent data of the loop, by subject. Made by `open_store`.

    Every operation is a checkpoint, and may raise StoreError. A write returns once it is committed,
    including the fsync (unless `synchronous` says otherwise). If it's cancelled, either all of the change
    happened or none of it; every change may be repeated. A read sees everything committed before it
    began, and may be cancelled at any time. A daemon's reads wait while the database can't be reached,
    except in the context of `reads_fail_fast`.

    Attributes:
        drain_requested: set when somebody asks this daemon to drain, maybe on another machine.
        others_ended: set when another node has ended, drains, or hasn't renewed its lease in time, so that
            its work has to be taken over.
        cluster: how many nodes there are.
        may_write: returns False once another node may have taken over from this one. The database refuses
            writes then by itself; code that writes elsewhere has to check this.
    """

    def __init__(
        self,
        engine: Engine,
        queue: LogQueue,
        blobs: Blobs,
        log_limit: int,
        shipper: Shipper | None,
        may_write: Callable[[], bool],
    ) -> None:
        super().__init__(engine)
        self._queue = queue
        self._blobs = blobs
        self._shipper = shipper
        self._live: dict[int, LiveLog] = {}
        self.drain_requested = trio.Event()
        self.others_ended = AutoResetEvent()
        self.cluster = Cluster()
        self.may_write = may_write
        self.notifications = Notifications(engine)
        self.nodes = Nodes(engine)
        self.artifacts = Artifacts(engine, blobs)
        self.checks = Checks(engine)
        self.deliveries = Deliveries(engine)
        self.error_lines = ErrorLines(engine)
        self.heads = Heads(engine)
        self.log_index = LogIndex(engine)
        self.logins = Logins(engine)
        self.repositories = Repositories(engine)
        self.requests = Requests(engine)
        self.runs = Runs(engine)
        self.runtimes = Runtimes(engine)
        self.sessions = Sessions(engine)
        self.api_spending = Spending(engine)
        self.statements = Statements(engine)
        self.steps = Steps(engine, self._live)
        self.tests = Tests(engine)
        self.thunks = Thunks(engine)
        self.usage = Usage(engine)
        self.users = Users(engine)
        self.journals = Journals(engine)
        self.logs = Logs(
            engine,
            self.steps,
            self._live,
            queue,
            blobs,
            log_limit,
            shipper,
            self.log_index.log_closed.set,
            may_write,
        )

    @property
    def write_error(self) -> StoreError | None:
        """The error of the latest write, while writes fail for a temporary reason."""
        return self._engine.writer.write_error

    async def wait_until_full(self) -> None:
        """Wait until a write of the database, or of a log, finds the disk full."""
        async with trio.open_nursery() as nursery:
            for event in (self._engine.writer.found_full, self._queue.found_full):
                nursery.start_soon(_cancel_after, event, nursery.cancel_scope)

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            writer=self._engine.writer.statistics(),
            open_logs=sum(not log.complete for log in self._live.values()),
            log_bytes_waiting=self._queue.pending,
            log_bytes=self._queue.received,
            stuck_seconds=max(self._engine.writer.stuck_seconds, self._queue.full_seconds),
            shipping=None if self._shipper is None else self._shipper.statistics(),
        )

    @reads
    def created_at(self, db: Connection) -> float:
        """Return when the database was created, in seconds since the epoch."""
        return self._engine.database.created_at(db)

    @reads
    def figures(self, db: Connection) -> Figures:
        """Return how much data there is, and how much work is waiting. Reads indexes only."""
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
        folder = self._blobs.folder
        folder = folder if folder.is_dir() else folder.parent
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
        """Commit an empty change, and write a byte next to the logs. Raises StoreError if either fails."""
        await self._engine.write(self._engine.database.touch, wait=False)
        await trio.to_thread.run_sync(_touch_folder, FileBlobs(self._blobs.folder))

    async def probe_bucket(self, *, write: bool) -> None:
        """Request a missing object from the bucket, if there is a bucket. Raises BucketError.

        If cancelled, abandons the request, which finishes in its thread.

        Args:
            write: store, read and remove an object instead.
        """
        if (bucket := self._blobs.bucket) is not None:
            probe = bucket.probe if write else partial(bucket.fetch, "probe/none", 0, 1)
            with suppress(FileNotFoundError):
                await trio.to_thread.run_sync(probe, abandon_on_cancel=True)

    async def prune(
        self,
        retention: Retention,
        *,
        now: float,
        steady: bool = True,
        dry_run: bool = False,
        progress: Progress = ignore_progress,
    ) -> PruneReport:
        """Remove the runs that `retention` doesn't keep. See `maintenance.prune.prune`."""
        return await prune(
            self._engine,
            self._blobs,
            retention,
            now=now,
            steady=steady,
            dry_run=dry_run,
            progress=progress,
        )


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _touch_folder(blobs: FileBlobs) -> None:
    try:
        blobs.probe()
    except OSError as error:
        kind = StoreFull if is_disk_full(error) else StoreError
        raise kind(f"blobs {blobs} can't be written: {error.strerror}") from error
